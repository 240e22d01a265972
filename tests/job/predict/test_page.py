"""docs/prediction.md has the numbers of the code."""

import json
import re
from pathlib import Path

import pytest

from job.agreement import cut
from job.agreement import stage as agreement
from job.llama_cpp.windows import MOST_CHUNKS
from job.plan import describe
from job.predict import judging_time, timing, training_time
from job.predict.anatomy import KNOWN
from job.predict.gpus import GPUS
from job.predict.training_time import LAUNCH_S, RECOMPUTING_S
from job.spec import JobSpec
from tests import ROOT
from tests.job.predict.sizes import SIZES

PAGE = (ROOT / "docs" / "prediction.md").read_text()
TIMES = PAGE.partition("## Time\n")[2]


def row(stage: str) -> str:
    """What the table of times says about a stage."""
    (found,) = re.findall(rf"^\| {stage} \| (.*) \|$", TIMES, flags=re.M)
    return str(found)


def numbers(text: str, words: str) -> list[float]:
    return [float(one) for one in re.findall(rf"([\d.]+) ?{words}", text)]


def test_the_page_names_the_models_whose_sizes_are_known() -> None:
    (sentence,) = re.findall(r"by the `model_type` of their `config.json`:(.*?)\.\n", PAGE, flags=re.S)
    assert tuple(re.findall(r"`(\w+)`", sentence)) == KNOWN


def test_the_tables_of_times_have_the_assumptions_of_the_code() -> None:
    shares = [training_time.FLOPS_SHARE * 100, training_time.T4_FLOPS_SHARE * 100]
    assert numbers(row("matrix products"), "%") == shares
    assert GPUS["t4"].tflops * training_time.T4_FLOPS_SHARE == pytest.approx(25, abs=0.5)
    assert numbers(row("everything between them"), "%") == [training_time.BANDWIDTH_SHARE * 100]
    assert numbers(row("everything between them"), "times") == [training_time.PASSES]
    assert numbers(row("everything between them"), "bytes of") == [training_time.ADAPTER_BYTES]
    assert numbers(row("everything between them"), "more") == [training_time.DROPOUT_BYTES]
    assert numbers(row("4-bit weights"), "bytes and") == [training_time.QUANTIZED_BYTES]
    assert numbers(row("the loss without Triton"), "bytes") == [training_time.LOGIT_BYTES]
    assert numbers(row("the host"), "ms") == [round(1000 * one, 1) for one in (LAUNCH_S, RECOMPUTING_S)]
    assert numbers(row("rehearse, tokens"), "s of imports") == [timing.START_S]
    assert numbers(row("agree"), "s of imports") == [timing.START_S]
    assert numbers(row("agree"), "layers") == [judging_time.FIRST_LAYERS] == [cut.LEAST]
    assert numbers(row("agree"), "tokens") == [judging_time.FIRST_TOKENS] == [agreement.CONTEXT * agreement.CHUNKS]
    assert numbers(row("fetch, publish"), "MB/s") == [timing.NETWORK / 1e6]
    assert numbers(row("export"), "MB/s") == [judging_time.DISK / 1e6]
    assert numbers(row("imatrix, evaluate"), "GFLOP/s") == [judging_time.CPU_FLOPS / 1e9]
    assert numbers(row("imatrix, evaluate"), "million logits") == [judging_time.LOGITS_PER_S / 1e6]
    assert numbers(row("imatrix, evaluate"), "MB/s") == [judging_time.DISK / 1e6]
    assert numbers(row("imatrix, evaluate"), "GB(?!/)") == [judging_time.CACHED / 1e9]
    assert numbers(row("imatrix, evaluate"), "%") == [judging_time.GENERATION_SHARE * 100]
    assert numbers(row("imatrix, evaluate"), "GB/s") == [judging_time.CPU_BANDWIDTH / 1e9]
    assert numbers(row("imatrix"), "windows") == [MOST_CHUNKS]
    assert numbers(row("imatrix"), "million") == [judging_time.MATRIX_VALUES_PER_S / 1e6]
    quick, mixed, small = judging_time.WEIGHTS_PER_S.values()
    pairs = [[int(one) * 1e6, int(two) * 1e6] for one, two in re.findall(r"(\d+) and (\d+) million", row("quantize"))]
    assert pairs == [list(quick), list(mixed)] and small == (1e6, 1e6)


@pytest.mark.slow
def test_the_example_is_what_the_command_prints(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIZES["7B"][0]))
    quotes = [{"quote": " ".join(["word"] * (8 + 41 * number % 60))} for number in range(2500)]
    (tmp_path / "quotes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in quotes))
    asked = {"model": {"id": str(tmp_path)}, "dataset": {"id": str(tmp_path / "quotes.jsonl"), "text": "quote"}}
    lines = describe(JobSpec.model_validate(asked), "t4", 0.35).splitlines()
    said = [line.removeprefix("#").removeprefix(" ") for line in lines]
    shown = "\n".join(said[next(i for i, line in enumerate(said) if line.startswith("stage ")) :])
    assert shown in PAGE, shown
