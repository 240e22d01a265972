"""Measures a GGUF with llama.cpp: perplexity, distance from the unquantized file.

Perplexity is computed by llama.cpp: the second half of each window of `context` tokens is scored, so each token has at
least half a window before it. The unquantized file's logits are kept on disk once, and every quantized file is compared
with them: KL divergence, and how often both predict the same token (tools/perplexity/README.md).
"""

import re
from pathlib import Path

from job import node
from job.artifacts import Frozen
from job.errors import Bug, IntegrityViolated, QualityRejected, StorageFailed
from job.llama_cpp import offload
from job.llama_cpp.offload import Output
from job.llama_cpp.windows import BATCH, logits_bytes
from job.logs import Progress

_ESTIMATE = re.compile(r"Final estimate: PPL = (\S+) \+/- (\S+)")
_FIRST = re.compile(r"\[1\](\S+?),")
_CHUNKS = re.compile(r"over (\d+) chunks")
_CHUNK = re.compile(r"^\s*(?:\[(\d+)\]|(\d+)\s)")


class Perplexity(Frozen):
    """exp of the mean loss over the scored tokens, with its standard error."""

    value: float
    error: float


class Judged(Perplexity):
    """A GGUF's perplexity. `gpu_layers`: see `offload.Output`."""

    gpu_layers: str


class Distance(Frozen):
    """How far a quantized file is from the unquantized one on the same tokens, each with its standard error.

    `ratio` is PPL(quantized) / PPL(unquantized); `kld` in nats per token; `same_top` a share from 0 to 1.
    """

    perplexity: Perplexity
    ratio: float
    ratio_error: float
    kld: float
    kld_error: float
    same_top: float
    gpu_layers: str


def perplexity(gguf: Path, ids: Path, *, context: int, chunks: int, logits: Path | None = None) -> Judged:
    """Over the token ids in the file `ids` (decimal); writes the logits to `logits`, if given.

    Raises QualityRejected for NaN, IntegrityViolated if the file does not run, EnvironmentUnfit if this machine cannot
    run it, not even on the CPU.
    """
    options: list[str | Path] = ["-f", ids, *_window(context), "--chunks", str(chunks)]
    if logits:
        options += ["--kl-divergence-base", logits]
    output = _judged(gguf, options, f"judging {gguf.name}", ids=True)
    if logits:
        _check_whole(logits, context, chunks)
    found = _ESTIMATE.search(output.said)
    if found is None and (first := _FIRST.search(output.said)):
        _number(first[1], gguf)  # of NaN there is no estimate
    if found is None:
        raise Bug(f"llama-perplexity did not report an estimate for {gguf.name}: {output.said[-300:]}")
    return Judged(value=_number(found[1], gguf), error=_number(found[2], gguf), gpu_layers=output.gpu_layers)


def _window(context: int) -> list[str]:
    return ["-c", str(context), "-b", str(max(context, BATCH))]


def _check_whole(logits: Path, context: int, chunks: int) -> None:
    """Checks the size of the logits: llama-perplexity does not notice a full disk. The file begins with `_logits_`, the
    context, the size of the vocabulary, the number of chunks, and their tokens."""
    with logits.open("rb") as file:
        head = file.read(20)
    vocabulary = int.from_bytes(head[12:16], "little")
    expected = 20 + 4 * context * chunks + logits_bytes(vocabulary, context, chunks)
    if len(head) < 20 or logits.stat().st_size < expected:
        raise StorageFailed(
            f"{logits.parent} is full: the logits need {expected / 1e9:.2f} GB, and {logits.stat().st_size / 1e9:.2f} "
            "GB were written",
            hint="Give the work directory (FINETUNE_WORK) more disk, or set a smaller evaluation.max_tokens.",
        )


def distance(gguf: Path, logits: Path, *, context: int) -> Distance:
    """Compares a quantized file with the logits that `perplexity` has written. Raises the same errors."""
    options: list[str | Path] = ["--kl-divergence", "--kl-divergence-base", logits, *_window(context)]
    output = _judged(gguf, options, f"judging {gguf.name}")

    def pair(label: str) -> tuple[float, float]:
        found = re.search(re.escape(label) + r"\s*:\s*(\S+) ± +(\S+)", output.said)
        if found is None:
            raise Bug(f"llama-perplexity did not report {label} for {gguf.name}: {output.said[-300:]}")
        # For files that compute the same, the error is the root of a rounding error, which may be below zero.
        return _number(found[1], gguf), 0.0 if "nan" in found[2] else _number(found[2], gguf)

    value, error = pair("Mean PPL(Q)")
    ratio, ratio_error = pair("Mean PPL(Q)/PPL(base)")
    kld, kld_error = pair("Mean    KLD")
    return Distance(
        perplexity=Perplexity(value=value, error=error),
        ratio=ratio,
        ratio_error=ratio_error,
        kld=kld,
        kld_error=kld_error,
        same_top=pair("Same top p")[0] / 100,
        gpu_layers=output.gpu_layers,
    )


def _judged(gguf: Path, options: list[str | Path], what: str, *, ids: bool = False) -> Output:
    """The output of llama-perplexity, with the layers on the GPU, which it reports only with `-lv 4`."""
    bar: Progress | None = None
    done = 0

    def on_line(line: str) -> None:
        nonlocal bar, done
        if total := _CHUNKS.search(line):
            bar, done = Progress(what, int(total[1]), "chunks"), 0
        elif bar and (chunk := _CHUNK.match(line)) and int(chunk[1] or chunk[2]) == done + 1 <= (bar.total or 0):
            # Compare with `done`: a line of statistics may begin with a number too.
            done += 1
            bar.update(done)

    return offload.run(
        "llama-perplexity",
        ["-m", gguf, "-t", str(node.threads()), "-lv", "4", *options],
        gguf=gguf,
        error=IntegrityViolated,
        on_line=on_line,
        line_ends="\n,",
        environment={"LLAMA_PROMPT_IDS": "1"} if ids else None,
    )


def _number(text: str, gguf: Path) -> float:
    value = float(text)
    if not abs(value) < float("inf"):
        raise QualityRejected(
            f"{gguf.name}: its perplexity is {text}",
            hint="Did the training diverge, or does the model overflow float16? Try export.dtype bf16 or f32.",
        )
    return value
