#!/usr/bin/env python3
"""How far this CPU's kernels are from float64, with the instructions that it has and with AVX2 alone.

    python -m bench.cpu

torch, oneDNN, MKL and bitsandbytes choose kernels by the CPU. Each case is computed in a process of its own for each
setting; its number is the largest difference from the same in float64, as a share of the largest value. What a test
compares, or a user is promised, must not depend on the columns.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "as it is": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
CHOSEN_BY = {
    "matmul float32": "MKL, by CPUID",
    "matmul bfloat16": "oneDNN, by CPUID (AVX512-BF16, AMX)",
    "matmul float16": "oneDNN, by CPUID (AVX512-FP16)",
    "attention float32": "torch, ATEN_CPU_CAPABILITY",
    "silu, exp, tanh": "torch (Sleef), ATEN_CPU_CAPABILITY",
    "softmax": "torch, ATEN_CPU_CAPABILITY",
    "cross entropy": "torch, ATEN_CPU_CAPABILITY",
    "RMSNorm": "torch, ATEN_CPU_CAPABILITY",
    "NF4 layer, training": "bitsandbytes' library, by CPUID; MKL",
    "NF4 layer, evaluation": "the same; AVX512-BF16 only if it may repack",
    "8-bit layer, evaluation": "bitsandbytes: torch._int_mm with AVX-512, else float32",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().one:
        print(json.dumps(measure()))
        return 0
    found = {name: in_process(setting) for name, setting in SETTINGS.items()}
    print(f"{cpu_name()}\n\n| kernel | chosen by | {' | '.join(found)} | same bits |")
    print(f"| --- | --- | {' | '.join(['---:'] * len(found))} | --- |")
    for kernel, chosen in CHOSEN_BY.items():
        numbers = " | ".join(f"{one[kernel].far:.1e}" for one in found.values())
        same = "yes" if len({one[kernel].bits for one in found.values()}) == 1 else "no"
        print(f"| {kernel} | {chosen} | {numbers} | {same} |")
    return 0


class Measured(NamedTuple):
    """The largest relative difference from float64, and a hash of the result."""

    far: float
    bits: str


def in_process(setting: dict[str, str]) -> dict[str, Measured]:
    command = [sys.executable, "-m", "bench.cpu", "--one"]
    done = subprocess.run(command, env=os.environ | setting, check=True, capture_output=True, text=True, cwd=ROOT)
    return {kernel: Measured(*pair) for kernel, pair in json.loads(done.stdout.splitlines()[-1]).items()}


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name, flags = (next(line for line in lines if line.startswith(field)) for field in ("model name", "flags"))
    units = [one for one in ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16") if one in flags.split()]
    return f"{name.split(': ')[1]}: {', '.join(units)}"


def compared(result: Tensor, exact: Tensor) -> Measured:
    far = (result.double() - exact).abs().max() / exact.abs().max()
    return Measured(float(far), hashlib.sha256(result.detach().float().numpy().tobytes()).hexdigest())


def measure() -> dict[str, Measured]:
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    x, weight = torch.randn(256, 1024), torch.randn(1024, 1024) * 0.05
    heads = [torch.randn(1, 8, 256, 64) for _ in range(3)]
    labels = torch.randint(0, 1024, (256,))

    def far(compute: Callable[..., Tensor], *given: Tensor, dtype: torch.dtype = torch.float32) -> Measured:
        given = tuple(one.to(dtype) for one in given)  # what rounding the input costs is not the kernel's
        return compared(compute(*given), compute(*(one.double() for one in given)))

    def losses(values: Tensor) -> Tensor:
        return functional.cross_entropy(values, labels, reduction="none")

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    linear = functional.linear
    return {
        "matmul float32": far(linear, x, weight),
        "matmul bfloat16": far(linear, x, weight, dtype=torch.bfloat16),
        "matmul float16": far(linear, x, weight, dtype=torch.float16),
        "attention float32": far(
            lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), *heads
        ),
        "silu, exp, tanh": max(far(one, x) for one in (functional.silu, torch.exp, torch.tanh)),
        "softmax": far(lambda values: values.softmax(-1), x),
        "cross entropy": far(losses, x),
        "RMSNorm": far(lambda v: functional.rms_norm(v, (1024,)), x),
    } | quantized_layers(x, weight)


def quantized_layers(x: Tensor, weight: Tensor) -> dict[str, Measured]:
    """bitsandbytes' layers as this job uses them, against float64 on the weights that they stand for."""
    import bitsandbytes as bnb
    import torch

    from job.train.numerics import keep_weights_as_loaded

    four = bnb.nn.Linear4bit(1024, 1024, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    four.load_state_dict({"weight": weight})
    four = four.to("cpu")
    keep_weights_as_loaded(four)
    exact = x.double() @ bnb.functional.dequantize_4bit(four.weight, four.weight.quant_state).double().T
    eight = bnb.nn.Linear8bitLt(1024, 1024, bias=False, has_fp16_weights=False)
    eight.load_state_dict({"weight": weight})
    eight = eight.to("cpu").eval()
    with torch.no_grad():
        layers = {"NF4 layer, training": four.train()(x), "NF4 layer, evaluation": four.eval()(x)}
        integers, scales, _ = bnb.functional.int8_vectorwise_quant(x.half())
        said = eight(x)
        rows = eight.state.SCB.double()[None] * scales.double()[:, None] / 127**2
        whole = (integers.double() @ eight.weight.double().T) * rows
    return {kernel: compared(result, exact) for kernel, result in layers.items()} | {
        "8-bit layer, evaluation": compared(said, whole)
    }


if __name__ == "__main__":
    sys.exit(main())
