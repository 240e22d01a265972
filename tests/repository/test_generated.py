"""What is written from code is what `make docs` would write now."""

import re
import subprocess
import sys

import pytest

from tests import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
GENERATORS = re.findall(r"^GENERATORS := ((?:.*\\\n)*.*)$", MAKEFILE, flags=re.M)[0].replace("\\\n", " ").split()
SLOW = {f"scripts/{name}.py": [pytest.mark.slow] for name in ("quant_table", "architectures", "models")}
"""Asks the bundled llama.cpp, or imports torch."""


@pytest.mark.parametrize("script", [pytest.param(one, marks=SLOW.get(one, [])) for one in GENERATORS])
def test_make_docs_changes_nothing(script: str) -> None:
    command = [sys.executable, script, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, f"run `make docs`: {done.stdout}{done.stderr}"


def test_make_docs_runs_every_script_that_writes_from_code() -> None:
    found = [path for path in (ROOT / "scripts").glob("*.py") if "--check" in path.read_text()]
    assert sorted(GENERATORS) == sorted(str(path.relative_to(ROOT)) for path in found)
    assert "for script in $(GENERATORS)" in MAKEFILE
