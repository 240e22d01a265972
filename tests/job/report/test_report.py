"""The report in a real browser: nothing is fetched, nothing fails, and what people look at is there."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from job.report.choice import choices, enough
from job.report.documents import documents
from job.report.page import page
from job.report.table import Line
from tests.browser import Opened, chromium_started
from tests.job.report.facts import facts, spec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_started() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(page(facts()), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_request_or_a_complaint(chromium: Browser, report: Path, scheme: Any) -> None:
    opened = Opened(chromium, report, color_scheme=scheme)
    assert opened.requests == [report.as_uri()]
    assert opened.complaints == []
    back, ink = (
        opened.page.evaluate(f"getComputedStyle(document.body).{what}") for what in ("backgroundColor", "color")
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) > 384 for colour in (back, ink)]
    assert light == ([True, False] if scheme == "light" else [False, True])
    label = opened.page.locator("svg text").first
    assert label.evaluate("element => getComputedStyle(element).fill") == ink  # the plots take the page's colour


def test_it_has_all_that_somebody_looks_for(chromium: Browser, report: Path) -> None:
    opened = Opened(chromium, report)
    assert opened.texts("h2") == [
        "Files", "Which file should I take?", "Training", "Samples", "Memory and time", "What it was made with",
    ]  # fmt: skip
    assert opened.page.locator("svg").count() == 3
    text = opened.page.locator("body").inner_text()
    for said in ("3.080 → 1.704", "Tuned-Q4_K_M.gguf", "21.80 ± 1.82", "base (nf4)", "0.0330", "attn_v: q6_K", "torch"):
        assert said in text
    opened.page.get_by_text("Spec", exact=True).click()
    assert "learning_rate: 0.0002" in opened.page.locator("pre").first.inner_text()
    opened.page.get_by_text("SHA-256 of each file").click()
    assert "cd" * 32 in opened.page.locator("body").inner_text()


def test_what_a_model_says_does_nothing(chromium: Browser, report: Path) -> None:
    opened = Opened(chromium, report)
    assert opened.page.title() == "Tuned"
    assert opened.page.locator(".answers script, .answers img, .sample > .say *").count() == 0
    assert opened.texts(".answers b") == ["the row itself", "base", "tuned", "F16", "Q2_K", "Q4_K_M", "Q8_0"]


def test_the_table_sorts_by_number_and_leaves_what_is_empty_at_the_end(chromium: Browser, report: Path) -> None:
    opened = Opened(chromium, report)
    types = "table.sortable tbody tr td:nth-child(2)"
    assert opened.texts(types) == ["base (nf4)", "tuned (nf4)", "F16", "Q2_K", "Q4_K_M", "Q8_0"]
    size = opened.page.get_by_role("button", name="size")
    size.click()
    assert opened.texts(types)[:4] == ["Q2_K", "Q4_K_M", "Q8_0", "F16"]
    size.click()
    assert opened.texts(types)[:4] == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]
    opened.page.get_by_role("button", name="KLD").click()
    assert opened.texts(types)[:3] == ["Q8_0", "Q4_K_M", "Q2_K"]


def test_a_phone_shows_it_without_scrolling_sideways(chromium: Browser, report: Path) -> None:
    opened = Opened(chromium, report, viewport={"width": 360, "height": 740})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(("judged", "trained"), [(False, True), (True, False), (False, False)])
def test_a_run_of_which_less_is_known_is_shown_too(
    chromium: Browser, tmp_path: Path, judged: bool, trained: bool
) -> None:
    given = spec() if trained else spec(training=None)
    path = tmp_path / "index.html"
    path.write_bytes(documents(facts(given, judged=judged, trained=trained))["report/index.html"])
    opened = Opened(chromium, path)
    assert opened.complaints == []
    assert ("Nothing was measured" in opened.page.locator("body").inner_text()) is not judged
    assert opened.page.locator("svg").count() == judged + trained + 1


def test_a_run_of_many_hours_stays_a_small_file() -> None:
    long = facts()
    steps = [{"step": n, "loss": 2.0, "learning_rate": 1e-4} for n in range(20_000)]
    long.records["train"].metrics["losses"] = steps
    started = time.monotonic()
    assert len(page(long)) < 1_000_000
    assert time.monotonic() - started < 30


def line(kind: str, size: float, ratio: float, kld: float | None) -> Line:
    return Line(f"m-{kind}.gguf", kind, int(size * 1e9), size, (6 * ratio, 0.1), (kld, 0.001) if kld else None)


def test_the_file_for_a_memory_is_the_most_faithful_that_fits() -> None:
    lines = [
        line("Q2_K", 2.6, 1.3, 0.4),
        line("Q4_K_M", 4.1, 1.015, 0.03),
        line("Q8_0", 7.2, 1.001, 0.002),
        line("F16", 13.5, 1.0, None),
    ]
    found = [(one.gigabytes, one.line.type) for one in choices(lines, 524_288)]
    assert found == [(6, "Q2_K"), (8, "Q4_K_M"), (12, "Q8_0"), (24, "F16")]
    best = enough(lines)
    assert best is not None and best.type == "Q4_K_M"
