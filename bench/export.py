"""The export against what users do today, side by side: PEFT's merge and Axolotl's memory-efficient one, each with
llama.cpp's converter after it, and cp.

    python -m bench.export [--layers 22] [--runs 1] [--work DIR]

A random Llama of about 1.1 billion parameters in float16 (TinyLlama's shape; --layers shrinks it) with an all-linear
adapter of rank 8. Each contender is a process of its own that reads the base from the page cache; its time ends when
its files are on the disk (fsync), so that nobody is paid for leaving work to the kernel. Memory is sampled from
/proc: RssAnon is what the process holds, RSS also counts mapped pages of the base. Start-up is the export of a model
of next to no size. Of Axolotl, pip downloads its wheel without what it depends on, and its own function runs, without
the start-up of Axolotl's command line; without a package index it is left out.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from job.llama_cpp import bundle
from tests.gguf_file import read_gguf

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20
VOCAB, HIDDEN, INTERMEDIATE = 32000, 2048, 5632

MAKE = """
import sys, torch
from pathlib import Path
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig
from tests.tiny_models import copy_tokenizer
folder, layers, hidden, intermediate = Path(sys.argv[1]), *map(int, sys.argv[2:5])
config = LlamaConfig(vocab_size=int(sys.argv[5]), hidden_size=hidden, intermediate_size=intermediate,
                     num_hidden_layers=layers, num_attention_heads=hidden // 64, num_key_value_heads=hidden // 512 or 1)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
model.save_pretrained(folder / "base", max_shard_size="1GB")
copy_tokenizer(folder / "base", chat_template=None)
settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
get_peft_model(model, settings).save_pretrained(folder / "adapter")
"""

MERGE = """
import sys, shutil
from pathlib import Path
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, merged = map(Path, sys.argv[1:4])
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(merged)
for path in base.glob("tokenizer*"):
    shutil.copyfile(path, merged / path.name)
"""

AXOLOTL = "axolotl==0.19.0"
AXOLOTL_MERGE = """
import logging, sys, types
from pathlib import Path
wheel, base, adapter, merged = map(Path, sys.argv[1:5])
for name in ("axolotl", "axolotl.cli", "axolotl.cli.utils", "axolotl.utils"):  # without what their __init__ imports
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [str(wheel / name.replace(".", "/"))]
log = sys.modules["axolotl.utils.logging"] = types.ModuleType("axolotl.utils.logging")
log.get_logger = logging.getLogger
from axolotl.cli.utils.lora_merge import merge_lora_sharded_efficient
merge_lora_sharded_efficient(base, adapter, merged, device="cpu")
"""


@dataclass
class Measured:
    """Wall seconds, peaks in bytes, bytes written to disk."""

    seconds: float = 0.0
    anonymous: int = 0
    resident: int = 0
    disk: int = 0
    steps: list[float] = field(default_factory=list)


def measured(commands: Sequence[Sequence[str | Path]], out: Path) -> Measured:
    """Runs the commands one after another; `out` is the folder that they write."""
    result = Measured()
    for command in commands:
        started = time.monotonic()
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        sampler = threading.Thread(target=_sample, args=(process, result))
        sampler.start()
        _, errors = process.communicate()
        sampler.join()
        if process.returncode:
            raise SystemExit(f"{command} exited {process.returncode}\n{errors[-3000:]}")
        files = [path for path in out.rglob("*") if path.is_file() and not path.is_symlink()]
        for path in files:
            _flush(path)
        result.steps.append(time.monotonic() - started)
    result.seconds = sum(result.steps)
    result.disk = sum(path.stat().st_size for path in files)
    return result


def _sample(process: subprocess.Popen[str], result: Measured) -> None:
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return
        found = dict(re.findall(r"^(RssAnon|VmRSS):\s+(\d+) kB$", status, re.M))
        result.anonymous = max(result.anonymous, int(found.get("RssAnon", 0)) * 1024)
        result.resident = max(result.resident, int(found.get("VmRSS", 0)) * 1024)
        time.sleep(0.01)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _made(work: Path, layers: int, hidden: int, intermediate: int, vocab: int) -> Path:
    work.mkdir()
    sizes = map(str, (layers, hidden, intermediate, vocab))
    subprocess.run([sys.executable, "-c", MAKE, str(work), *sizes], cwd=ROOT, check=True, capture_output=True)
    return work


def _ours(model: Path, out: Path) -> Callable[[], Measured]:
    def run() -> Measured:
        out.mkdir()
        spec = {"model": {"id": "bench/base"}, "dataset": {"id": "bench/rows"}}
        inputs = {"model": str(model / "base"), "adapter": str(model / "adapter"), "name": "bench"}
        (out / "inputs.json").write_text(json.dumps({"spec": spec, "inputs": inputs}))
        return measured([[sys.executable, "-m", "job", "stage", "export", out, "1"]], out)  # its events go to stdout

    return run


def _todays(model: Path, out: Path, *merge_by: str | Path) -> Callable[[], Measured]:
    def run() -> Measured:
        out.mkdir()
        merged, script = out / "bench", bundle.converter_path() / "convert_hf_to_gguf.py"
        merge = [sys.executable, "-c", *merge_by, model / "base", model / "adapter", merged]
        convert = [sys.executable, script, merged, "--outtype", "f16", "--outfile", out / "bench-f16.gguf"]
        return measured([merge, [*convert, "--model-name", "bench"]], out)

    return run


def _axolotl(folder: Path) -> Path | None:
    """Axolotl's wheel, unpacked; None if it cannot be had."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), AXOLOTL]
    return folder if subprocess.run(command, check=False).returncode == 0 else None


def _copy(model: Path, out: Path) -> Callable[[], Measured]:
    def run() -> Measured:
        out.mkdir()
        return measured([["cp", "-r", model / "base", out]], out)

    return run


def _best(run: Callable[[], Measured], out: Path, runs: int, keep: bool) -> Measured:
    results = []
    for number in range(runs):
        results.append(run())
        if number + 1 < runs or not keep:
            shutil.rmtree(out)
    return min(results, key=lambda result: result.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--runs", type=int, default=1, help="the fastest of so many runs counts")
    parser.add_argument("--work", type=Path, help="where about 9 GB fit (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-export-") as folder:
        work = Path(folder)
        tiny = _made(work / "tiny", 1, 64, 128, 1536)
        model = _made(work / "model", options.layers, HIDDEN, INTERMEDIATE, VOCAB)
        startup = _best(_ours(tiny, work / "startup"), work / "startup", options.runs, False)
        for path in (model / "base").iterdir():
            path.read_bytes()
        copy = _best(_copy(model, work / "copy"), work / "copy", options.runs, False)
        ours = _best(_ours(model, work / "ours"), work / "ours", options.runs, True)
        todays = _best(_todays(model, work / "todays", MERGE), work / "todays", options.runs, True)
        same = _same(work / "ours", work / "todays")
        shutil.rmtree(work / "todays")
        peer: Measured | None = None
        if wheel := _axolotl(work / "axolotl"):
            run = _todays(model, work / "peer", AXOLOTL_MERGE, wheel)
            peer = _best(run, work / "peer", options.runs, True)
            same_as_peer = "the same tensors" if _same(work / "ours", work / "peer") else "other roundings"
        size = (work / "ours" / "bench-f16.gguf").stat().st_size
    _report(startup, copy, ours, todays, same, size, peer)
    if peer:
        ratio, memory = peer.seconds / ours.seconds, peer.anonymous / ours.anonymous
        print(f"Axolotl's merge + converter: {ratio:.2f} x our time, {memory:.2f} x our memory; {same_as_peer}")
    else:
        print("Axolotl's merge + converter: not measured, since its wheel could not be installed")


def _same(one: Path, other: Path) -> bool:
    return read_gguf(one / "bench-f16.gguf") == read_gguf(other / "bench-f16.gguf")


def _report(
    startup: Measured, copy: Measured, ours: Measured, todays: Measured, same: bool, size: int, peer: Measured | None
) -> None:
    largest = VOCAB * HIDDEN
    bound = 500_000_000 + 6 * largest
    print(f"{os.cpu_count()} CPUs, GGUF of {size / MIB:.0f} MiB, largest tensor {largest / 1e6:.1f} million elements")
    print(f"{'':34}{'seconds':>9}{'RssAnon MiB':>13}{'RSS MiB':>9}{'disk MiB':>10}")
    rows = {
        "this export": ours,
        f"PEFT + converter ({todays.steps[0]:.1f} + {todays.steps[1]:.1f} s)": todays,
        **({f"Axolotl + converter ({peer.steps[0]:.1f} + {peer.steps[1]:.1f} s)": peer} if peer else {}),
        "cp of the base": copy,
        "start-up": startup,
    }
    for name, row in rows.items():
        memory = f"{row.anonymous / MIB:>13.0f}{row.resident / MIB:>9.0f}"
        print(f"{name:34}{row.seconds:>9.1f}{memory}{row.disk / MIB:>10.0f}")
    allowed = 1.5 * copy.seconds + startup.seconds
    targets = [
        ("times as fast as PEFT + converter", todays.seconds / ours.seconds, ">=", 2.5),
        ("seconds, within 1.5 x cp + start-up", ours.seconds, "<=", allowed),
        ("MiB RssAnon, within 0.5 GB + 6 bytes per element", ours.anonymous / MIB, "<=", bound / MIB),
        ("bytes on disk beside the GGUF", ours.disk - size, "<=", 10_000),
    ]
    for what, value, relation, target in targets:
        met = value >= target if relation == ">=" else value <= target
        print(f"{'met   ' if met else 'MISSED'} {value:8.1f} {relation} {target:8.1f}  {what}")
    print(f"{'met   ' if same else 'MISSED'} both GGUF files hold the same metadata and tensors, bit for bit")


if __name__ == "__main__":
    main()
