"""Memory of this process."""

from pathlib import Path


def peak_memory() -> dict[str, int]:
    """Bytes: `rss` now and its peak, and the peak of the GPU's memory that torch has allocated and reserved."""
    import torch

    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    found = {name: int(fields[field].split()[0]) * 1024 for name, field in (("rss", "VmRSS"), ("rss_peak", "VmHWM"))}
    if torch.cuda.is_available():
        found["cuda_peak"] = torch.cuda.max_memory_allocated()
        found["cuda_reserved"] = torch.cuda.max_memory_reserved()
    return found
