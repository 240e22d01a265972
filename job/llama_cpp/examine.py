"""Finds out what there is to know of one GGUF, in one load of its weights: llama-examine, of scripts/llama-examine.

Whether it loads, with no NaN in its tensors or its results; how it reads a text; where generation ends; what it
answers; how fast it is.
"""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.errors import Bug, IntegrityViolated
from job.llama_cpp import offload
from job.llama_cpp.speed import Speed, asked, measured
from job.logs import Progress
from job.node import threads as cpus

TIMEOUT_S = 7200.0  # a 70B model from a network disk takes minutes to read, and as many to answer on a CPU
BATCH = 512
BEGINNING, WORDS = "The capital of France is", 8
"""What every file goes on from, and with how many tokens."""
# More than 64 tokens in any tokenizer.
_NUMBERS = (
    "A model that has been quantized must still count. One, two, three, four, five, six, seven, eight, nine and ten. "
    "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. Spring comes after "
    "winter, summer after spring, and autumn after summer. Water freezes when it is cold and boils when it is hot."
)


class Questions(Frozen):
    """`text`: to tokenize; `ends`: tokens at which generation should end; `prompts`: to answer with `answer` tokens
    each, in a context for `prompt` tokens; `threads`: to measure the speed with, if there is no GPU."""

    text: str = ""
    ends: list[int] = []
    prompts: list[str] = []
    prompt: int = 0
    answer: int = 0
    threads: list[int] = []


class Findings(Frozen):
    """The answers, in the order of the questions. `generated`: after BEGINNING; `gpu_layers`: see `offload.Output`."""

    tokens: list[int]
    ends: list[bool]
    generated: str
    answers: list[str]
    speeds: list[Speed]
    gpu_layers: str


def examine(gguf: Path, questions: Questions, *, what: str = "") -> Findings:
    """`what`: the file's name in the progress of its answers.

    Raises IntegrityViolated if the file does not load or computes NaN, EnvironmentUnfit if this machine cannot run it,
    not even on the CPU.
    """
    prompts = [{"prompt": BEGINNING, "tokens": WORDS}]
    prompts += [{"prompt": prompt, "tokens": questions.answer} for prompt in questions.prompts]
    request: dict[str, Any] = {
        "tokenize": questions.text,
        "ends": questions.ends,
        "numbers": _NUMBERS,
        "answers": prompts,
    }
    if questions.threads:
        request["speed"] = asked(questions.threads, on_gpu=offload.has_gpu())
    bar = Progress(f"sampling {what or gguf.name}", len(prompts), "samples")
    done = 0

    def on_line(line: str) -> None:
        nonlocal done
        if line.startswith('{"numbers"'):
            done = 0  # another try
        elif line.startswith('{"answer"'):
            done += 1
            bar.update(done)

    output = run(gguf, request, context=questions.prompt + questions.answer, on_line=on_line)
    found = [json.loads(line) for line in output.out.splitlines() if line.startswith("{")]
    if not _only(found, "numbers"):
        raise IntegrityViolated(
            f"{gguf.name} computes NaN in llama.cpp",
            hint="Did the training diverge, or does the model overflow float16? Try export.dtype bf16 or f32.",
        )
    said = [one["answer"].rstrip() for one in found if "answer" in one]
    return Findings(
        tokens=_only(found, "tokenize"),
        ends=_only(found, "ends"),
        generated=said[0],
        answers=said[1:],
        speeds=measured(found, output.gpu_layers),
        gpu_layers=output.gpu_layers,
    )


def speeds_on_cpu(gguf: Path, threads: Sequence[int]) -> list[Speed]:
    """Without the GPU that there is: one more load."""
    output = run(gguf, {"speed": asked(threads, on_gpu=False)}, uses_gpu=False)
    return measured([json.loads(line) for line in output.out.splitlines() if line.startswith("{")], "0")


def run(
    gguf: Path,
    request: dict[str, Any],
    *,
    context: int = 0,
    on_line: Callable[[str], None] | None = None,
    uses_gpu: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> offload.Output:
    """Every tensor is checked for NaN and infinity while it is loaded. The request is a file, so that no prompt is in a
    list of processes."""
    speed = request.get("speed", {})
    tokens = max(context, speed.get("prompt", 0) + speed.get("generated", 0), 512)
    with tempfile.TemporaryDirectory(prefix="examine-") as folder:
        path = Path(folder) / "questions.json"
        path.write_text(json.dumps(request, allow_nan=False), encoding="utf-8")
        options: list[str | Path] = ["-m", gguf, "-c", str(tokens + 16), "-b", str(BATCH), "-t", str(cpus())]
        options += ["-bf", path, "--no-escape", "--check-tensors", "--offline", "-lv", "4"]
        try:
            return offload.run(
                "llama-examine",
                options,
                gguf=gguf,
                error=IntegrityViolated,
                timeout_s=timeout_s,
                on_line=on_line,
                uses_gpu=uses_gpu,
            )
        except IntegrityViolated as error:
            raise IntegrityViolated(
                f"{gguf.name} does not run in llama.cpp, so it is not published: {_why(error.message)}",
                hint="The log has llama.cpp's full output.",
            ) from error


def _only(found: list[dict[str, Any]], name: str) -> Any:
    values = [one[name] for one in found if name in one]
    if len(values) != 1:
        raise Bug(f"llama-examine answered {len(values)} times what it was asked for: {name}")
    return values[0]


def _why(output: str) -> str:
    """The first line of llama.cpp's output that reports an error, without its time; else all of it. A missing GPU is
    not an error."""
    fault = r"^(?:[\d.]+ E )?(?!.*failed to initialize CUDA)(.*(?:error|invalid|failed|corrupted).*)$"
    found = re.search(fault, output, re.I | re.M)
    return found[1].strip() if found else output
