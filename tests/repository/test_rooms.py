"""docs/architecture.md, the folders and the contracts say the same."""

import re
import tomllib
from pathlib import Path

import pytest

from job.pipeline.run import STAGES
from job.run.child import STAGES as CHILDREN
from tests import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = set(re.findall(r"^\*\*`([a-z0-9_/]+)/`\*\*", PAGE, flags=re.M))
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def rooms(package: str) -> set[str]:
    """The package's folders that hold modules, or the package itself if it has none."""
    below = {f"{package}/{one.parent.name}" for one in (ROOT / package).glob("*/__init__.py")}
    return below or {package}


def test_every_room_has_a_paragraph() -> None:
    assert rooms("job") | rooms("k8s") | rooms("push") == NAMED


@pytest.mark.parametrize("package", ["job", "k8s", "push"])
def test_every_module_and_room_has_its_layer_in_the_contracts(package: str) -> None:
    (layers,) = [one["layers"] for one in CONTRACTS if one.get("containers") == [package]]
    named = {name for layer in layers for name in layer.split(" | ")}
    there = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert there | {path.parent.name for path in (ROOT / package).glob("*/__init__.py")} == named


def test_the_files_that_the_page_names_are_there() -> None:
    named = re.findall(r"`((?:job|k8s|push|tests|scripts)/[\w/.-]+)`", PAGE)
    assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_the_table_has_each_stage_with_its_modules() -> None:
    rows = [[cell.strip() for cell in row.split("|")] for row in re.findall(r"^\|(.*)\|$", PAGE, flags=re.M)[2:]]
    assert [row[0] for row in rows if ", in " not in row[0]] == [name for name, _ in STAGES]
    assert {row[1].strip("`") for row in rows} == {f"job/pipeline/{row[0].split(',')[0]}.py" for row in rows}
    children = {Path(found[0]) for row in rows if (found := re.findall(r"`(job/[\w/]+\.py)`", row[2]))}
    assert children == {Path(module.replace(".", "/") + ".py") for module in CHILDREN.values()}
