"""What is written as JSON is JSON (RFC 8259): no `Infinity`, no `NaN`, which JavaScript and Go refuse to read."""

import ast
import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from job import logs, strict_json
from job.artifacts import Frozen, write_json
from job.errors import QualityRejected
from job.evaluate import gate
from job.run.events import EventLog, read_events
from job.run.records import StageRecord, write_stage
from job.spec import JobSpec
from job.store import open_store
from job.train.measure import Measured
from tests import ROOT

BAD: dict[str, Any] = {"loss": math.nan, "grad_norm": [math.inf, 1.0], "step": (1, -math.inf)}
GOOD = {"loss": None, "grad_norm": [None, 1.0], "step": [1, None]}
OTHERS = {
    "job/fetch/view.py": "a model's own config.json, which only transformers reads: some have Infinity",
    "job/export/model_view.py": "the same",
    "job/spec/faults.py": "a message",
    "job/tokens/renderer.py": "a text that a template makes of a row, as apply_chat_template does",
    "job/dataset/written.py": "the same",
    "job/strict_json.py": "passes the options on",
}
"""Files that may call json.dumps as it is, and why."""


def strictly(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_number_that_is_not_finite_is_null() -> None:
    assert strictly(strict_json.dumps(BAD)) == GOOD


def test_files_and_records_have_null_for_it(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", BAD)
    assert strictly((tmp_path / "result.json").read_text()) == GOOD
    store = open_store(str(tmp_path / "store"))
    write_stage(store, StageRecord(stage="train", key="k", artifacts=[], metrics=BAD))
    found = store.get("stages/train/k/stage.json")
    assert found and strictly(found[0].decode())["metrics"] == GOOD


def test_events_have_null_for_it(tmp_path: Path) -> None:
    out, store = StringIO(), open_store(str(tmp_path))
    events = EventLog(store, "r", 1)
    logs.configure(events, stream=out)
    try:
        logs.log.info("train.log", **BAD)
    finally:
        logs.configure()
    events.close()
    assert strictly(out.getvalue())["grad_norm"] == GOOD["grad_norm"]
    key = next(iter(store.list("runs/r/events/")))
    piece = store.get(key)
    assert piece and strictly(piece[0].decode())["loss"] is None
    assert read_events(store, "r")[0]["loss"] is None


def test_a_held_out_loss_that_is_not_a_number_is_refused_also_if_it_was_read_from_the_store() -> None:
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}})
    measured: Frozen = Measured(loss_before=2.0, loss_after=math.nan)
    again = Measured.model_validate_json(strict_json.dumps(measured.model_dump(mode="json")))
    for one in (measured, again):
        record = StageRecord(stage="train", key="k", artifacts=[], metrics=one.model_dump(mode="json"))
        with pytest.raises(QualityRejected, match=r"loss .* after 2\.000"):
            gate.check(spec, {"train": record})


def test_every_writer_refuses_or_replaces_it() -> None:
    lax = []
    for path in sorted(one for room in ("job", "k8s", "push") for one in (ROOT / room).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            whole = ast.unparse(node.func)
            strict = any(word.arg == "allow_nan" for word in node.keywords)
            if whole in ("json.dump", "json.dumps") and not strict and name not in OTHERS:
                lax.append(f"{name}:{node.lineno}")
    assert lax == [], "use job.strict_json.dumps, or allow_nan=False"
