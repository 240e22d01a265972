"""What the job lets llama.cpp do with a GGUF, each timed, with the layers that ran on the GPU.

The job's own functions are called, so that what is measured is what a run does.
"""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from bench.gpu.export import gguf_of, spec_of
from bench.gpu.model import folder_of, write_rows
from bench.gpu.parts import OTHER_SUMS, TYPES
from bench.gpu.record import Bench, Line
from bench.rows_as_tokens import calibration_text
from job.llama_cpp import imatrix, offload, quantize
from job.llama_cpp import perplexity as judging
from job.llama_cpp.examine import Questions, examine
from job.llama_cpp.windows import windows
from job.spec import JobSpec
from job.tokens import stage as tokens

SUMS_IN_FLOAT16 = {"GGML_CUDA_CUBLAS_COMPUTE_TYPE": "f16"}
"""ggml-cuda.cu: a float16 file's products are summed in float16, as they are unless the job sets float32."""


class Text(NamedTuple):
    """Rows, and what the job makes of them to judge files on."""

    rows: Path
    ids: Path
    context: int
    chunks: int
    prompt: tokens.Prompt


def run(bench: Bench, model: str) -> None:
    work = bench.work / "judging"
    spec, gguf = spec_of(bench, model), gguf_of(bench, model)
    text = text_of(spec, folder_of(bench, model), work)
    logits, matrix = work / "logits.bin", work / "imatrix.gguf"
    with bench.case("f16") as fields:
        judged = judging.perplexity(gguf, text.ids, context=text.context, chunks=text.chunks, logits=logits)
        fields |= {"model": model, "chunks": text.chunks, **perplexity(judged)}
    with bench.case(OTHER_SUMS[0]) as fields:
        fields |= {"model": model} | distance(gguf, logits, text, SUMS_IN_FLOAT16)
    with bench.case("speed f16") as fields:
        fields |= speed(spec, gguf)
    with bench.case("imatrix") as fields:
        sample = calibration_text(spec, folder_of(bench, model), text.rows, work / "matrix")
        imatrix.make_imatrix(gguf, sample, matrix, context=text.context)
        fields |= {"model": model, "bytes": matrix.stat().st_size}
    for kind in TYPES:
        inputs = quantize.Inputs(gguf=gguf, type=kind, imatrix=matrix if matrix.is_file() else None, name=model)
        judge_type(bench, spec, inputs, logits, text)


def text_of(spec: JobSpec, model: Path, work: Path) -> Text:
    """Held-out rows, and as many windows of them as the job would judge on."""
    work.mkdir(exist_ok=True)
    rows = write_rows(work / "rows.jsonl", 400, 120)
    found = tokens.run(spec, tokens.Inputs(model=model, rows=rows), work)
    assert found.held_out
    evaluation = spec.evaluation
    context, chunks = windows(found.held_out.count, found.size, evaluation.context, evaluation.max_tokens)
    return Text(rows, found.held_out.ids, context, chunks, found.prompts[0])


def judge_type(bench: Bench, spec: JobSpec, inputs: quantize.Inputs, logits: Path, text: Text) -> None:
    """Makes one type of file, and finds out what a run finds out about it."""
    kind, made = inputs.type, None
    with bench.case(f"quantize {kind}") as fields:
        made = quantize.run(spec, inputs, inputs.gguf.parent)
        fields |= {"model": inputs.name, "bytes": made.size, "bits_per_weight": made.bits_per_weight}
    if made is None:
        return
    gguf = made.files[0]
    with bench.case(kind) as fields:
        fields |= {"model": inputs.name, "bits_per_weight": made.bits_per_weight} | distance(gguf, logits, text)
    with bench.case(f"speed {kind}") as fields:
        fields |= speed(spec, gguf)
    with bench.case(f"answer {kind}") as fields:
        questions = Questions(prompts=[text.prompt.text], prompt=len(text.prompt.ids) + 1, answer=64)
        fields["answer"] = examine(gguf, questions).answers[0]


def perplexity(judged: judging.Judged) -> Line:
    value = judged.model_dump(exclude={"gpu_layers"})
    return {"gpu": offload.has_gpu(), "gpu_layers": judged.gpu_layers, "perplexity": value}


def distance(gguf: Path, logits: Path, text: Text, environment: dict[str, str] | None = None) -> Line:
    with patch.dict(os.environ, environment) if environment else nullcontext():
        return {"gpu": offload.has_gpu(), **judging.distance(gguf, logits, context=text.context).model_dump()}


def speed(spec: JobSpec, gguf: Path) -> Line:
    speeds = examine(gguf, Questions(threads=spec.evaluation.threads)).speeds
    measured = [one.model_dump() for one in speeds]
    return {"gpu": offload.has_gpu(), "gpu_layers": speeds[0].gpu_layers, "speeds": measured}
