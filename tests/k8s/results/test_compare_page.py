"""The comparison's page in a real browser, and a comparison of real runs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from job.store import open_store
from k8s.results.compare import named
from k8s.results.page import page
from k8s.results.tables import values
from tests import forks
from tests.browser import Opened, chromium_started
from tests.job.report.facts import HOSTILE
from tests.job_process import run_job
from tests.k8s.results.kept import keep
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_started() as browser:
        yield browser


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """Three runs, the last of which was measured on other rows and has a name that would do harm."""
    keep(tmp_path, "quotes-r8")
    keep(tmp_path, "quotes-r32", lora={"r": 32}, training={"learning_rate": 1e-3})
    keep(tmp_path, "other-rows", name=HOSTILE, rows="other")
    path = tmp_path / "page.html"
    store = open_store(str(tmp_path))
    path.write_text(page([named(store, run) for run in ("quotes-r8", "quotes-r32", "other-rows")]), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_request_or_a_complaint(chromium: Browser, compared: Path, scheme: Any) -> None:
    opened = Opened(chromium, compared, color_scheme=scheme)
    assert opened.requests == [compared.as_uri()] and opened.complaints == []
    assert opened.texts("h2") == ["Runs", "What differs", "Losses", "Training", "Files"]
    ink = opened.page.evaluate("getComputedStyle(document.body).color")
    label = opened.page.locator("svg text").first
    assert label.evaluate("element => getComputedStyle(element).fill") == ink


def test_what_a_run_is_called_does_nothing(chromium: Browser, compared: Path) -> None:
    opened = Opened(chromium, compared)
    assert opened.page.title() == "quotes-r8 · quotes-r32 · other-rows"
    assert opened.page.locator("script, img").count() == 0
    assert HOSTILE in opened.page.locator("body").inner_text()


def test_a_phone_shows_it_without_scrolling_sideways(chromium: Browser, compared: Path) -> None:
    opened = Opened(chromium, compared, viewport={"width": 360, "height": 740})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_runs_in_s3_are_compared_without_a_cluster(s3: Bucket, tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", lora={"r": 32})
    for run in ("a", "b"):
        body = (tmp_path / "runs" / run / "manifest.json").read_bytes()
        s3.client.put_object(Bucket=s3.bucket, Key=f"store/runs/{run}/manifest.json", Body=body)
    command = [forks.commands(), "-m", "k8s.launch", "compare", "a", "b", "--store", f"s3://{s3.bucket}/store"]
    environment = os.environ | {"KUBECONFIG": "/nowhere"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0 and "lora.r" in done.stdout, done.stderr


def test_real_runs_are_comparable_on_the_same_rows_and_not_on_others(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    common = small_spec | {"run": {"store": str(tmp_path / "store"), "seed": 1}, "export": {"types": ["q8_0"]}}
    common["dataset"] = common["dataset"] | {"eval_fraction": 0.4}
    changes: dict[str, dict[str, Any]] = {"a": {}, "b": {"lora": {"r": 4}}, "c": {"run": common["run"] | {"seed": 2}}}
    for run, change in changes.items():
        spec = common | change
        spec |= {"run": spec["run"] | {"id": run}, "publish": {"folder": str(tmp_path / run)}}
        ended = run_job(spec, tmp_path / "work")
        assert ended.code == 0, ended.output
    store = open_store(str(tmp_path / "store"))
    found = values([named(store, run) for run in changes])
    assert found["differences"]["lora.r"] == {"A": "8", "B": "4", "C": "8"}
    measures = {(one["name"], one["of"]): one for one in found["measures"]}
    assert {("perplexity", "Q8_0"), ("KLD", "Q8_0"), ("held-out loss after", "")} <= set(measures)
    for name, kind in measures:
        if name in ("perplexity", "KLD", "held-out loss after"):
            assert measures[name, kind]["comparable"] == {"A": 0, "B": 0, "C": 1}, json.dumps(found)
