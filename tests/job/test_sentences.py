"""What events say to a person at a terminal: words and rounded numbers, not keys and bytes."""

from typing import Any

import pytest
from rich.console import Console

from job.console import ConsoleSink
from job.sentences import amount, duration, sentence, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(1_738_452_992, "1.7 GB"), (128_000_000_000, "128 GB"), (5_400, "5 kB"), (999_000_000, "999 MB")],
)
def test_sizes_are_rounded(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(743.2, "12 min"), (4.04, "4 s"), (89.6, "90 s"), (7500, "2 h 5 min"), (359_990, "100 h 0 min")],
)
def test_durations_are_rounded(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ({"done": 5e8, "total": 1.7e9, "unit": "bytes", "eta_s": 90}, "500 MB of 1.7 GB, 90 s left"),
        ({"done": 3, "total": 40, "unit": "steps"}, "3 of 40 steps"),
        ({"done": 1200, "total": None, "unit": "rows"}, "1,200 rows"),
        ({"done": None, "total": None, "unit": "", "elapsed_s": 8.1}, "8 s"),
    ],
)
def test_progress_says_how_far_it_is(progress: dict[str, Any], text: str) -> None:
    assert amount(progress) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            {"event": "stage.skipped", "stage": "train", "key": "7c0f", "made": "2026-11-20T12:03:09+00:00"},
            "training: kept from the run of 2026-11-20 12:03 UTC",
        ),
        ({"event": "stage.skipped", "stage": "export", "key": "7c0f"}, "export: kept from an earlier run"),
        (
            {"event": "quantize.planned", "make": ["q6_k"], "keep": ["q4_k_m", "q8_0"], "made": "2026-11-20T12:03:09Z"},
            "quantizing: only q6_k is made; q4_k_m, q8_0 are kept from the run of 2026-11-20 12:03 UTC",
        ),
        ({"event": "quantize.planned", "make": ["q6_k"], "keep": [], "made": None}, "quantizing: q6_k"),
        (
            {"event": "train.log", "step": 5, "total": 40, "loss": 2.3456, "tokens_per_second": 110.2, "eta_s": 743.2},
            "step 5 of 40: loss 2.346, 110 tokens/s, 12 min left",
        ),
        (
            {
                "event": "preflight.disk",
                "needed": 2_200_000_000,
                "free": 51_000_000_000,
                "stage": "quantize",
                "folder": "/w",
            },
            "disk: at most 2.2 GB are needed (quantizing), 51.0 GB are free in /w",
        ),
        (
            {"event": "preflight.memory_is_short", "needed": 9_000_000_000, "has": 8_000_000_000, "what": "Use less."},
            "preflight.memory_is_short: Use less. (needed 9.0 GB, has 8.0 GB)",
        ),
        (
            {"event": "some.thing", "seconds": 743.2, "rows": 12000, "level": "info"},
            "some.thing: seconds 12 min, rows 12,000",
        ),
        ({"event": "train.log", "of": "another release"}, "train.log: of another release"),
        ({"event": "some.thing"}, "some.thing:"),
    ],
)
def test_an_event_is_a_sentence(event: dict[str, Any], text: str) -> None:
    assert sentence(event) == text


def drawn(*events: dict[str, Any]) -> str:
    """What a screen shows at the end."""
    screen = ConsoleSink()
    screen.console = Console(record=True, width=100, force_terminal=False, stderr=True)
    for event in events:
        screen({"level": "info"} | event)
    shown = screen._bars.get_renderable()
    screen.close()
    screen.console.print(shown)
    return screen.console.export_text()


def test_work_without_an_end_moves_until_something_is_said() -> None:
    waits = {"event": "progress", "what": "loading Llama", "done": None, "total": None, "unit": "", "elapsed_s": 8.0}
    assert "loading Llama" in drawn(waits) and " 8 s" in drawn(waits)
    assert "loading Llama" not in drawn(waits, {"event": "train.held_out", "loss": 3.0})


def test_a_bar_that_knows_its_end_keeps_it() -> None:
    steps = {"event": "train.log", "step": 1, "total": 4, "loss": 2.0, "eta_s": 30}
    waits = {"event": "progress", "what": "training", "done": None, "total": None, "unit": "", "elapsed_s": 8.0}
    assert "1 of 4 steps, 30 s left" in drawn(steps, waits)


def test_keys_are_for_the_log() -> None:
    assert (
        drawn(
            {"event": "stage.needed", "stage": "train", "key": "7c0f"},
            {"event": "stage.skipped", "stage": "quantize", "type": "q8_0", "key": "7c0f"},
            {"event": "command", "level": "debug", "command": "llama-quantize"},
        ).strip()
        == ""
    )


def test_scores_and_what_is_forgotten_are_told() -> None:
    assert sentence({"event": "tasks.scored", "who": "q8_0", "right": 37, "cases": 50}) == (
        "q8_0: 37 of 50 answers are right"
    )
    assert sentence({"event": "tasks.read", "cases": 1200, "tokens": 9000, "longest": 44}) == (
        "1,200 cases to score, of 9,000 tokens; the longest has 44"
    )
    assert "20.00 before, 30.00 after" in sentence({"event": "train.traced_text", "base": 20.0, "tuned": 30.0})
