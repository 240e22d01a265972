"""Loads a GGUF in the bundled llama.cpp and generates text: a file that fails this is not published."""

import re
from pathlib import Path

from job.errors import Bug, IntegrityViolated
from job.llama_cpp import offload
from job.node import threads

TIMEOUT_S = 1800.0  # a 70B model from a network disk takes minutes to read before the first token
_QUIET = ("-no-cnv", "--no-display-prompt", "--no-warmup", "--offline")
# More than 64 tokens in any tokenizer: llama-perplexity needs twice its context.
_TEXT = (
    "A model that has been quantized must still count. One, two, three, four, five, six, seven, eight, nine and ten. "
    "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. Spring comes after "
    "winter, summer after spring, and autumn after summer. Water freezes when it is cold and boils when it is hot."
)


def generate(gguf: Path, prompt: str, *, tokens: int, seed: int = 0, timeout_s: float = TIMEOUT_S) -> str:
    """The model's text after `prompt`: greedy, at most `tokens` tokens, without the prompt.

    Every tensor is checked for NaN and infinity while it is loaded. Raises IntegrityViolated if the file does not load
    or llama.cpp crashes.
    """
    options = ["-p", prompt, "-n", str(tokens), "-c", "512", "-s", str(seed), "--temp", "0"]
    options += [*_QUIET, "--check-tensors"]
    return _said(_run("llama-completion", gguf, options, timeout_s))


def answer(gguf: Path, prompt: Path, *, context: int, tokens: int, timeout_s: float = TIMEOUT_S) -> str:
    """The model's greedy answer to the prompt in a file, in a context of `context` tokens. Special tokens are
    parsed."""
    options = ["-bf", str(prompt), "--no-escape", "-n", str(tokens), "-c", str(context + tokens + 8), "--temp", "0"]
    return _said(_run("llama-completion", gguf, [*options, *_QUIET], timeout_s))


def _said(output: str) -> str:
    return output.rstrip().removesuffix("[end of text]").rstrip()


def stops_at(gguf: Path, eos: int, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether generation ends at the token `eos`, which a bias makes the model produce."""
    options = ["-p", "The", "-n", "4", "-c", "64", "--temp", "0", "--logit-bias", f"{eos}+1000000"]
    options += _QUIET
    return "[end of text]" in _run("llama-completion", gguf, options, timeout_s)


def check_numbers(gguf: Path, *, timeout_s: float = TIMEOUT_S) -> None:
    """Raises IntegrityViolated if the model computes NaN: finite weights can overflow in the computation."""
    # Without -b it allocates 64 windows of 256 tokens: 8.6 GB for a 7B model.
    options = ["-p", _TEXT, "-c", "32", "-b", "32", "--chunks", "1", "--offline"]
    said = _run("llama-perplexity", gguf, options, timeout_s)
    found = re.search(r"\[1\](-?[\w.]+)", said)
    if found is None:
        raise Bug(f"llama-perplexity did not report a perplexity for {gguf.name}")
    if "nan" in found[1] or "inf" in found[1]:
        raise IntegrityViolated(
            f"{gguf.name} computes NaN in llama.cpp",
            hint="Did the training diverge, or does the model overflow float16? Try export.dtype bf16 or f32.",
        )


def _run(name: str, gguf: Path, options: list[str], timeout_s: float) -> str:
    arguments: list[str | Path] = ["-m", gguf, "-t", str(threads()), *options]
    try:
        return offload.run(name, arguments, gguf=gguf, error=IntegrityViolated, timeout_s=timeout_s).out
    except IntegrityViolated as error:
        raise IntegrityViolated(
            f"{gguf.name} does not run in llama.cpp, so it is not published: {_why(error.message)}",
            hint="The log has llama.cpp's full output.",
        ) from error


def _why(output: str) -> str:
    """The first line of llama.cpp's output that reports an error, without its time; else all of it. A missing GPU is
    not an error."""
    fault = r"^(?:[\d.]+ E )?(?!.*failed to initialize CUDA)(.*(?:error|invalid|failed|corrupted).*)$"
    found = re.search(fault, output, re.I | re.M)
    return found[1].strip() if found else output
