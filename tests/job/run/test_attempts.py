"""What earlier attempts died of."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from job.errors import DiedSilently
from job.run import attempts
from job.run.usage import Usage, usage_key
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


def test_what_is_done_beside_is_part_of_the_point(store: Store) -> None:
    for kind in ("q8_0", "q8_0"):
        attempt = attempts.begin(store, RUN)
        with attempt.doing_beside(f"quantize {kind}"):
            attempt.doing("evaluate", "q4_k_m")
            assert attempt.at_work == "evaluate beside quantize q8_0"
        assert attempt.at_work == "evaluate"
    with pytest.raises(DiedSilently, match="evaluate, q4_k_m beside quantize q8_0"):
        judge(store)


def test_what_the_main_thread_waits_for_is_named_once(store: Store) -> None:
    attempt = attempts.begin(store, RUN)
    with attempt.doing_beside("quantize q8_0"):
        attempt.doing("quantize", "q8_0")
        assert attempt.at_work == "quantize"


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


def measured(store: Store, n: int, used: float, limit: float | None = 6e9) -> None:
    found = Usage(began=0, limit=int(limit) if limit else None, used=int(used))
    store.put(usage_key(RUN, n), found.model_dump_json().encode())


def test_a_death_with_the_memory_nearly_full_is_named_at_the_first_one(store: Store) -> None:
    past(store, "train", "step 120")
    measured(store, 1, 5.8e9)
    current = attempts.begin(store, RUN)
    with capture_logs() as said:
        attempts.judge(store, RUN, current)
    (died,) = [one for one in said if one["event"] == "attempt.died"]
    assert "used 5.80 GB of the 6.00 GB of memory" in died["why"] and "the kernel killed" in died["why"]
    current.doing("train", "step 120")
    measured(store, 2, 5.9e9)
    with pytest.raises(DiedSilently, match=r"of the last one: .* used 5\.90 GB of the 6\.00 GB"):
        judge(store)


@pytest.mark.parametrize(("used", "limit"), [(2e9, 6e9), (5.9e9, None)])
def test_a_death_with_memory_left_is_not_called_one_for_memory(store: Store, used: float, limit: float | None) -> None:
    past(store, "train", "step 120")
    measured(store, 1, used, limit)
    with capture_logs() as said:
        judge(store)
    assert [one["why"] for one in said if one["event"] == "attempt.died"] == [attempts.UNSAID]


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
