"""What llama.cpp says about a GGUF: perplexity, distance to the unquantized file, speed.

Perplexity is llama.cpp's own: of windows of `context` tokens the second half is scored, each token with at least half
a window before it. The unquantized file's logits are kept on disk once, and every quantized file is compared with
them: KL divergence, and how often both find the same token likeliest (tools/perplexity/README.md).
"""

import json
import os
import re
from pathlib import Path

from job import generate, llama, proc
from job.artifacts import Frozen
from job.errors import Bug, IntegrityViolated, QualityRejected, StorageFailed
from job.judging_windows import BATCH, logits_bytes
from job.logs import Progress

PROMPT_TOKENS, GENERATED_TOKENS, REPETITIONS = 64, 16, 2
_ESTIMATE = re.compile(r"Final estimate: PPL = (\S+) \+/- (\S+)")
_CHUNKS = re.compile(r"over (\d+) chunks")
_CHUNK = re.compile(r"^\s*\[?(\d+)\b")


class Speed(Frozen):
    """llama-bench's: milliseconds per token of a prompt and of what is generated, on `device`."""

    threads: int
    device: str
    prompt_ms: float
    generation_ms: float


class Perplexity(Frozen):
    """exp of the mean loss over the scored tokens, with its standard error."""

    value: float
    error: float


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


def perplexity(gguf: Path, ids: Path, *, context: int, chunks: int, logits: Path | None = None) -> Perplexity:
    """Over the token ids in the file `ids` (decimal); writes the logits where asked.

    Raises QualityRejected for NaN, IntegrityViolated where the file does not run.
    """
    options: list[str | Path] = ["-f", ids, *_window(context), "--chunks", str(chunks)]
    if logits:
        options += ["--kl-divergence-base", logits]
    said = _judged(gguf, options, f"judging {gguf.name}", ids=True)
    if logits:
        _check_whole(logits, context, chunks)
    found = _ESTIMATE.search(said)
    if found is None:
        raise Bug(f"llama-perplexity gives no estimate for {gguf.name}: {said[-300:]}")
    return Perplexity(value=_number(found[1], gguf), error=_number(found[2], gguf))


def _window(context: int) -> list[str]:
    return ["-c", str(context), "-b", str(max(context, BATCH))]


def _check_whole(logits: Path, context: int, chunks: int) -> None:
    """llama-perplexity does not notice a full disk. The file begins with `_logits_`, the context, the size of the
    vocabulary, the number of chunks, and their tokens."""
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
    """Compares a quantized file with the logits that `perplexity` has written. Raises as it does."""
    options: list[str | Path] = ["--kl-divergence", "--kl-divergence-base", logits, *_window(context)]
    said = _judged(gguf, options, f"judging {gguf.name}")

    def pair(label: str) -> tuple[float, float]:
        found = re.search(re.escape(label) + r"\s*:\s*(\S+) ± +(\S+)", said)
        if found is None:
            raise Bug(f"llama-perplexity says no {label} of {gguf.name}: {said[-300:]}")
        return _number(found[1], gguf), _number(found[2], gguf)

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
    )


def speeds(gguf: Path, threads: list[int]) -> list[Speed]:
    """llama-bench at each number of threads."""
    options = ["-p", str(PROMPT_TOKENS), "-n", str(GENERATED_TOKENS), "-r", str(REPETITIONS), "-o", "json"]
    command: list[str | Path] = [llama.program("llama-bench"), "-m", gguf, "-t", ",".join(map(str, threads)), *options]
    measured = json.loads(proc.run(command, error=IntegrityViolated, timeout_s=generate.TIMEOUT_S))
    found = []
    for count in threads:
        runs = [run for run in measured if run["n_threads"] == count]
        prompt = next(run for run in runs if run["n_prompt"])
        generation = next(run for run in runs if run["n_gen"])
        device = str(prompt.get("gpu_info") or prompt["cpu_info"])
        ms = [1000 / run["avg_ts"] for run in (prompt, generation)]
        found.append(Speed(threads=count, device=device, prompt_ms=round(ms[0], 3), generation_ms=round(ms[1], 3)))
    return found


def _judged(gguf: Path, options: list[str | Path], what: str, *, ids: bool = False) -> str:
    """Everything that llama-perplexity says."""
    lines: list[str] = []
    bar: Progress | None = None
    done = 0

    def on_line(line: str) -> None:
        nonlocal bar, done
        lines.append(line)
        if bar is None and (total := _CHUNKS.search(line)):
            bar = Progress(what, int(total[1]), "chunks")
        elif bar and (chunk := _CHUNK.match(line)) and int(chunk[1]) == done + 1 <= (bar.total or 0):
            # The comparison with `done`: a line of statistics may begin with a number too.
            done += 1
            bar.update(done)

    environment = os.environ | ({"LLAMA_PROMPT_IDS": "1"} if ids else {})
    command = [llama.program("llama-perplexity"), "-m", gguf, "-t", str(generate.threads()), *options]
    proc.run(command, on_line=on_line, line_ends="\n,", error=IntegrityViolated, env=environment)
    return "\n".join(lines)


def _number(text: str, gguf: Path) -> float:
    value = float(text)
    if not abs(value) < float("inf"):
        raise QualityRejected(f"{gguf.name}: its perplexity is {text}", hint="The model computes NaN.")
    return value
