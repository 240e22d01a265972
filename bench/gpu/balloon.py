"""A GPU whose memory is nearly full: what does not fit runs on the CPU, and nothing fails.

Torch holds the memory, in plain allocations, as another process would.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.gpu.export import gguf_of, spec_of
from bench.gpu.llama import perplexity, speed, text_of
from bench.gpu.model import folder_of
from bench.gpu.parts import NEARLY_NONE, SOME
from bench.gpu.record import Bench
from job.llama_cpp import offload
from job.llama_cpp import perplexity as judging

CONTEXT, CHUNKS = 128, 2


def run(bench: Bench, model: str) -> None:
    spec, gguf = spec_of(bench, model), gguf_of(bench, model)
    ids = text_of(spec, folder_of(bench, model), bench.work / "balloon").ids
    offload.has_gpu()  # as in a run: it is asked before the memory is full
    for free in (SOME, NEARLY_NONE):
        with all_but(free * 1_000_000_000):
            with bench.case(f"{free} GB free: perplexity") as fields:
                judged = judging.perplexity(gguf, ids, context=CONTEXT, chunks=CHUNKS)
                fields |= {"free_gb": free, **perplexity(judged)}
            if free == SOME:
                with bench.case(f"{free} GB free: speed") as fields:
                    fields |= {"free_gb": free, **speed(spec, gguf)}


@contextmanager
def all_but(free: int) -> Iterator[None]:
    """Holds the GPU's memory but for so many bytes; without a GPU, nothing."""
    if not torch.cuda.is_available():
        yield
        return
    left, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, left - free), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()
