"""docs/prediction.md has the numbers of the code."""

import re

from job.llama_cpp.imatrix import MOST_CHUNKS
from job.predict import timing
from job.predict.anatomy import KNOWN
from tests import ROOT

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


def test_the_table_of_times_has_the_assumptions_of_the_code() -> None:
    assert numbers(row("fetch, publish"), "MB/s") == [timing.NETWORK / 1e6]
    assert numbers(row("train"), "%") == [timing.FLOPS_SHARE * 100]
    assert numbers(row("export"), "MB/s") == [timing.DISK / 1e6]
    assert numbers(row("export"), "s of imports") == [timing.START_S]
    assert numbers(row("imatrix, evaluate"), "GFLOP/s") == [timing.CPU_FLOPS / 1e9]
    assert numbers(row("imatrix, evaluate"), "windows") == [MOST_CHUNKS]
    assert numbers(row("quantize"), "million") == [rate / 1e6 for rate in timing.WEIGHTS_PER_S.values()]
