"""What earlier attempts died of."""

from pathlib import Path

import pytest

from job.errors import DiedSilently
from job.run import attempts
from job.store import Store, open_store

RUN = "one"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def past(store: Store, stage: str, point: str, *, saved: bool = False, ended: int | None = None) -> None:
    attempt = attempts.begin(store, RUN)
    attempt.doing(stage, point)
    if saved:
        attempt.saved()
    if ended is not None:
        attempt.end(ended)


def judge(store: Store) -> None:
    attempts.judge(store, RUN, attempts.begin(store, RUN))


def test_the_first_attempt_is_not_judged(store: Store) -> None:
    judge(store)


def test_two_silent_deaths_at_one_point_end_the_run_and_are_named(store: Store) -> None:
    past(store, "train", "step 120")
    judge_once = attempts.begin(store, RUN)
    attempts.judge(store, RUN, judge_once)
    judge_once.doing("train", "step 120")
    with pytest.raises(DiedSilently, match="train, step 120"):
        judge(store)


def test_deaths_at_differing_points_or_after_progress_do_not(store: Store) -> None:
    past(store, "train", "step 10")
    past(store, "train", "step 20")
    judge(store)
    past(store, "export", "export", saved=True)
    past(store, "export", "export", saved=True)
    judge(store)


def test_two_lost_nodes_with_progress_between_them_are_no_verdict(store: Store) -> None:
    for _ in range(5):
        past(store, "train", "step 10")
        past(store, "train", "step 10", saved=True)
    past(store, "train", "step 10")
    judge(store)
    past(store, "train", "step 10", ended=69)
    past(store, "train", "step 10")
    judge(store)


def test_a_death_is_not_called_one_for_memory(store: Store) -> None:
    past(store, "train", "step 120")
    past(store, "train", "step 120")
    with pytest.raises(DiedSilently) as death:
        judge(store)
    assert "probably" not in str(death.value) and "if their nodes were lost" in str(death.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"n": 1}', b"\xff\x00", b"[" * 100_000])
def test_a_damaged_record_is_named_and_judged_as_nothing(
    store: Store, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    past(store, "train", "step 10")
    store.put("runs/one/attempts/2.json", damage)
    past(store, "train", "step 10")
    judge(store)
    assert "runs/one/attempts/2.json is damaged" in capsys.readouterr().out


def test_an_end_with_a_word_is_no_silent_death(store: Store) -> None:
    past(store, "train", "step 10", ended=69)
    past(store, "train", "step 10", ended=69)
    judge(store)


def test_many_attempts_that_saved_nothing_end_the_run(store: Store) -> None:
    for number in range(attempts.WITHOUT_PROGRESS):
        past(store, "train", f"step {number}", ended=76)
    with pytest.raises(DiedSilently, match="saved nothing new"):
        judge(store)


def test_attempts_are_numbered_in_order(store: Store) -> None:
    assert [attempts.begin(store, RUN).n for _ in range(11)] == list(range(1, 12))
