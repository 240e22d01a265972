"""The table of quantization types is what the bundled llama.cpp has, and what it really refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from job.llama_cpp import bundle
from job.spec.quants import ALIASES, EVERY_TYPE, NEEDS_IMATRIX, QUANTIZED, UNQUANTIZED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def offered() -> dict[str, str]:
    """The types in the help of llama-quantize, with what it says about each."""
    done = subprocess.run([bundle.program("llama-quantize"), "--help"], capture_output=True, text=True)
    table = (done.stdout + done.stderr).split("allowed quantization types")[1]
    found = re.findall(r"^\s*\d+\s+or\s+(\w+)\s*:(.*)$", table, re.M)
    return {name.lower(): text.strip() for name, text in found}


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of width 256, which k-quants and iq types can divide into their blocks."""
    from tests.tiny_models import make_llama

    folder = tmp_path_factory.mktemp("quants")
    model, out = make_llama(folder / "model", layers=4), folder / "model.gguf"
    converter = bundle.converter_path()
    command = [sys.executable, converter / "convert_hf_to_gguf.py", model, "--outfile", out, "--outtype", "f32"]
    environ = os.environ | {"PYTHONPATH": str(converter / "gguf-py")}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def test_every_type_of_the_bundled_llama_cpp_is_in_the_table_and_no_other(offered: dict[str, str]) -> None:
    aliases = {name for name, text in offered.items() if text.startswith("alias for")}
    assert set(offered) - aliases == set(EVERY_TYPE)
    assert len(set(EVERY_TYPE)) == len(EVERY_TYPE) and EVERY_TYPE == UNQUANTIZED + QUANTIZED


def test_the_aliases_are_those_of_llama_cpp(offered: dict[str, str]) -> None:
    found = {name: text.removeprefix("alias for").strip().lower() for name, text in offered.items() if "alias" in text}
    assert found == ALIASES and set(ALIASES.values()) <= set(QUANTIZED)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_a_type_needs_an_importance_matrix_exactly_where_the_table_says_so(
    kind: str, tiny_gguf: Path, tmp_path: Path
) -> None:
    command = [bundle.program("llama-quantize"), tiny_gguf, tmp_path / "quantized.gguf", kind, "1"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    if kind in NEEDS_IMATRIX:
        assert done.returncode != 0 and "importance matrix" in said
    else:
        assert done.returncode == 0, said[-2000:]
