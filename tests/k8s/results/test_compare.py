"""`finetune-run compare`: runs side by side, and nothing by others does any harm."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from job.run.records import StageRecord
from job.store import open_store
from tests import forks
from tests.job.report.facts import HOSTILE
from tests.k8s.launcher import Said
from tests.k8s.results.kept import keep

SECRET = "a-secret-of-somebody"


def compare(folder: Path, *words: str) -> Said:
    """The command, without a cluster."""
    environment = os.environ | {"KUBECONFIG": str(folder / "none"), "MY_API_KEY": SECRET, "COLUMNS": "200"}
    command = [forks.commands(), "-m", "k8s.launch", "compare", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    return Said(done.returncode, done.stdout, done.stderr)


def test_it_needs_no_cluster_for_a_store(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", lora={"r": 32})
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path), "--html", str(tmp_path / "page.html"))
    assert said.code == 0, said.err
    for words in ("lora.r", "held-out loss after", "Q4_K_M", "Training loss"):
        assert words in said.out
    assert "Content-Security-Policy" in (tmp_path / "page.html").read_text()
    assert json.loads(compare(tmp_path, "a", "b", "--store", str(tmp_path), "-o", "json").out)["runs"]["B"] == "b"


def test_words_by_others_do_nothing(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", name=f"\x1b]0;taken\x07{HOSTILE}", chat={"template": f"{{{{ messages }}}} {SECRET} \x1b[2J"})
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path), "--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    data = compare(tmp_path, "a", "b", "--store", str(tmp_path), "-o", "json").out
    assert said.code == 0 and "\\x1b[2J" in said.out, said.err
    for text in (said.out, said.err, page, data):
        assert SECRET not in text and "\x1b" not in text and "\x07" not in text
    assert "<script" not in page and "<img" not in page


def test_a_run_that_has_not_finished_is_shown_with_its_spec(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    body = {"spec": {"model": {"id": "me/other"}, "dataset": {"id": "me/rows"}}, "sources": {}}
    open_store(str(tmp_path)).put("runs/b/spec.json", json.dumps(body).encode())
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path))
    assert said.code == 0 and "not finished" in said.out and "me/other" in said.out, said.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a", "nobody"], 12, "there is no run nobody"),
        (["a"], 16, "a is a single run"),
        (["a", "a"], 16, "a is named twice"),
        (["a", "b", "--html", "/nowhere/page.html"], 16, "--html: cannot write /nowhere/page.html"),
        (["a", "b", "--store-pvc", "claim"], 16, "name two places"),
        (["a", "damaged"], 82, "runs/damaged/manifest.json is damaged"),
        (["a", "strange"], 82, "runs/strange/manifest.json is damaged"),
        (["a", "../b"], 82, "would leave its folder"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_told(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b")
    open_store(str(tmp_path)).put("runs/damaged/manifest.json", b'{"run": 7}')
    strange = StageRecord(stage="train", key="k", artifacts=[], metrics={"losses": [{"step": "many"}]})
    keep(tmp_path, "strange", records={"train": strange})
    said = compare(tmp_path, *words, "--store", str(tmp_path))
    assert said.code == code and message in said.err, said.err


def test_figures_of_a_wrong_kind_are_a_damaged_manifest(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    metrics = {"type": "q8_0", "perplexity": {"value": "\x1b[31m", "error": []}}
    keep(
        tmp_path, "b", records={"evaluate/q8_0": StageRecord(stage="evaluate", key="k", artifacts=[], metrics=metrics)}
    )
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path))
    assert said.code == 82 and "runs/b/manifest.json is damaged" in said.err
