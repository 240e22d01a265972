"""Rows of a data set on the Hub, as a plan sees them: a server of this machine answers in the viewer's form."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from job.predict import viewer
from job.predict.rows_here import BY_BYTES, rows_here
from job.spec import JobSpec

HUB = "http://127.0.0.1:9"
QUOTE = {"quote": "“Be yourself; everyone else is already taken.”", "author": "Oscar Wilde", "tags": ["honesty"]}


class Viewer:
    """`answers`: by the last part of the path; `asked`: the queries."""

    def __init__(self) -> None:
        split = {"dataset": "Abirate/english_quotes", "config": "default", "split": "train"}
        self.asked: list[dict[str, str]] = []
        self.answers: dict[str, Any] = {
            "splits": {"splits": [split], "pending": [], "failed": []},
            "rows": {
                "features": [],
                "rows": [{"row_idx": n, "row": QUOTE, "truncated_cells": []} for n in range(100)],
                "num_rows_total": 2508,
                "partial": False,
            },
        }


@pytest.fixture
def quotes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Viewer]:
    here = Viewer()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            here.asked.append({name: values[0] for name, values in parse_qs(address.query).items()})
            answer = here.answers.get(address.path.strip("/"))
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", HUB)
        monkeypatch.setattr(viewer, "VIEWERS", {HUB: f"http://127.0.0.1:{server.server_port}"})
        viewer._answer.cache_clear()
        yield here
        server.shutdown()


def spec(model: str = "NousResearch/Llama-2-7b-hf", **dataset: Any) -> JobSpec:
    given = {"id": "Abirate/english_quotes", "text": "quote"} | dataset
    return JobSpec.model_validate({"model": {"id": model}, "dataset": given})


def test_the_recipes_rows_are_known_before_they_are_fetched(quotes: Viewer) -> None:
    found = rows_here(spec())
    assert found and found.rows == 2508 * 0.9 // 1 and found.how == f"by the first 100 rows, {BY_BYTES}"
    assert 10 < found.mean < 15
    assert quotes.asked[-1]["config"] == "default" and quotes.asked[-1]["length"] == "100"
    held_out = rows_here(spec(eval_split="validation"))
    assert held_out and held_out.rows == 2508
    limited = rows_here(spec(limit=50, eval_fraction=0.0))
    assert limited and limited.rows == 50
    assert len(quotes.asked) == 2  # each is asked for once


def test_only_the_public_hub_is_asked_and_only_for_what_it_knows(quotes: Viewer, tmp_path: Any) -> None:
    assert rows_here(spec(revision="a-branch")) is None
    assert rows_here(spec(model=str(tmp_path))) is None
    assert rows_here(spec(), places=("path",)) is None
    viewer.VIEWERS.clear()
    assert rows_here(spec()) is None
    assert quotes.asked == []


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("rows", None), ("rows", {"rows": []}), ("rows", {"rows": [{}], "num_rows_total": 1}), ("rows", [1]),
        ("rows", {"rows": [], "num_rows_total": 0}), ("splits", {"splits": []}), ("splits", {"splits": [3]}),
    ],
)  # fmt: skip
def test_an_answer_of_another_form_leaves_the_rows_unknown(quotes: Viewer, what: str, answer: Any) -> None:
    quotes.answers[what] = answer
    assert rows_here(spec()) is None
