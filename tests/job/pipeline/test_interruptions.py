"""Runs that are killed, stopped, doubled, or lose their node: nothing is lost but the last interval."""

import copy
import itertools
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from job.errors import DiedSilently
from job.run import attempts
from job.run.records import read_manifest, verify_manifest
from job.store import open_store
from tests.job_process import Ended, Event, follow, kill, run_job, started

pytestmark = pytest.mark.slow

RUN = "interrupted"
KILLS = int(os.environ.get("FINETUNE_TEST_KILLS", "6"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, quotes: Path) -> tuple[Ended, list[float]]:
    """A run that nobody disturbs, and its losses."""
    root = tmp_path_factory.mktemp("undisturbed")
    spec = _spec(root, tiny_model, quotes)
    ended = run_job(spec, root / "work")
    assert ended.code == 0, ended.output
    return ended, _losses(spec, ended)


def _spec(root: Path, tiny_model: Path, quotes: Path) -> dict[str, Any]:
    return {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(quotes), "text": "quote", "eval_fraction": 0.1},
        "training": {
            "max_steps": 10,
            "max_length": 48,
            "save_steps": 2,
            "logging_steps": 1,
            "per_device_train_batch_size": 2,
        },
        "evaluation": {"samples": 0},
        "export": {"types": ["q4_k_m", "q8_0"]},
        "publish": {"name": "tiny", "folder": str(root / "published")},
        "run": {"id": RUN, "store": str(root / "store")},
    }


def _losses(spec: dict[str, Any], ended: Ended) -> list[float]:
    store = open_store(spec["run"]["store"])
    manifest = read_manifest(store, ended.events[-1]["run"])
    assert manifest is not None
    verify_manifest(store, manifest)
    return [one["loss"] for one in manifest.stages["train"].metrics["losses"]]


def test_a_run_killed_at_random_points_ends_like_an_undisturbed_one(
    tmp_path: Path, tiny_model: Path, quotes: Path, undisturbed: tuple[Ended, list[float]]
) -> None:
    spec = _spec(tmp_path, tiny_model, quotes)
    chance = random.Random(7)
    length = len(undisturbed[0].events)
    for _ in range(KILLS):
        after = chance.randrange(length)
        lag = chance.random() * 0.3
        with started(spec, tmp_path / "work") as process:
            ended = follow(process, _killer(process, spec, after, lag))
        assert ended.code in (0, -signal.SIGKILL), ended.output
        if chance.random() < 0.4:
            shutil.rmtree(tmp_path / "work", ignore_errors=True)
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    assert [round(x, 4) for x in _losses(spec, ended)] == [round(x, 4) for x in undisturbed[1]]


def _killer(process: subprocess.Popen[str], spec: dict[str, Any], after: int, lag: float) -> Callable[[Event], None]:
    """Kills the process `lag` seconds after its event number `after`, or later, where it would be the second death in a
    row at one point: that is a verdict, and no accident."""
    seen = itertools.count(1)
    store = open_store(spec["run"]["store"])

    def wait_and_kill() -> None:
        while process.poll() is None:
            latest = max((int(Path(key).stem) for key in store.list(f"runs/{RUN}/attempts/")), default=0)
            with suppress(DiedSilently):
                attempts.judge(store, RUN, attempts.Attempt(store, RUN, latest + 1))
                break
            time.sleep(0.01)
        kill(process)

    def count(_: Event) -> None:
        if next(seen) == after:
            threading.Timer(lag, wait_and_kill).start()

    return count


@pytest.mark.parametrize("stage", ["fetch", "train", "export", "quantize", "publish"])
def test_a_stopped_run_says_so_and_the_next_attempt_completes(
    tmp_path: Path, tiny_model: Path, quotes: Path, stage: str, undisturbed: tuple[Ended, list[float]]
) -> None:
    spec = _spec(tmp_path, tiny_model, quotes)

    def stop(process: subprocess.Popen[str], event: Event) -> None:
        started_training = event["event"] == "train.log" and event["step"] >= 3
        if started_training if stage == "train" else event["event"] == "stage.start" and event["stage"] == stage:
            process.send_signal(signal.SIGTERM)

    stopped = run_job(spec, tmp_path / "work", on_event=stop)
    assert stopped.code == 75, stopped.output  # the rehearsal, which comes first, is saved
    assert stopped.events[-1]["event"] == "run.failed"
    shutil.rmtree(tmp_path / "work")
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    assert [round(x, 4) for x in _losses(spec, ended)] == [round(x, 4) for x in undisturbed[1]]
    steps = [event["step"] for event in ended.named("train.log")]
    if stage == "train":
        assert min(steps) > 3
    elif stage != "fetch":
        assert not steps


def test_of_two_attempts_at_once_one_wins(tmp_path: Path, tiny_model: Path, quotes: Path) -> None:
    spec, lease = _spec(tmp_path, tiny_model, quotes), {"FINETUNE_LEASE_TTL_S": "12"}
    with started(spec, tmp_path / "one", lease) as first:
        second = run_job(copy.deepcopy(spec), tmp_path / "two", lease)
        ended = follow(first)
    assert sorted((ended.code, second.code)) == [0, 83], ended.output + second.output
    _losses(spec, ended if ended.code == 0 else second)
