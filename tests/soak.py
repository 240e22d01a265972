"""Kills whole runs at random moments, with a folder, S3 and the Hub in turn, and checks everything after each end.

A run is killed some times, loses its node now and then, and is then left to complete: its files, its one manifest, its
one commit and its losses must be those of a run that nobody disturbed (`tests/faults/runs.py`).
"""

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from job import logs
from job.errors import DiedSilently
from job.run import attempts
from job.store import open_store
from tests.faults.runs import OnEvent, Process, Run, spec_of
from tests.hub_server import Hub
from tests.job_process import Event, kill
from tests.s3_server import Server
from tests.tiny_models import make_llama, write_quotes

PLACES = ("folder", "s3", "hub")
MOST_KILLS = 6
"""Of one run: more would only repeat its first stages."""
LONGEST_LAG_S = 0.5
NODE_LOST = 0.4
EXAMPLES = """examples:
  python -m tests.soak --kills 20 --seconds 600
  nice python -m tests.soak --kills 200 --seconds 7200 | tee soak.txt
  python -m tests.soak --kills 5 --seconds 300 --seed 1234     the same kills again"""


@dataclass
class Soak:
    """What it has done and found. `said` gets a line for each run."""

    chance: random.Random
    root: Path
    model: Path
    quotes: Path
    server: Server
    hub: Hub
    kills: int = 0
    lost: int = 0
    runs: int = 0
    violations: list[str] = field(default_factory=list)
    during: Counter[str] = field(default_factory=Counter)
    losses: list[float] | None = None
    length: int = 0

    def undisturbed(self) -> None:
        """The losses to compare with, and how many events a run has."""
        run = self._run("folder")
        self.length = len(run.completes().events)
        manifest = run.manifest()
        assert manifest
        self.losses = [one["loss"] for one in manifest.stages["train"].metrics["losses"]]
        shutil.rmtree(run.root)

    def disturb(self, place: str, most: int) -> str:
        """One run that is killed up to `most` times. Returns a line about it."""
        self.runs += 1
        began, run, killed = time.monotonic(), self._run(place), list[str]()
        wanted = self.chance.randint(1, min(most, MOST_KILLS))
        try:
            while len(killed) < wanted:
                ended = run.attempt(self._killer(run))
                run.check_after()
                if ended.code == 0:
                    break
                assert ended.code < 0, f"ended with {ended.code}:\n{ended.output[-3000:]}"
                killed.append(_stage_of(ended.events))
                if self.chance.random() < NODE_LOST:
                    self.lost += 1
                    run.lose_node()
            run.completes()
            result = "ok"
        except AssertionError as error:
            result = f"VIOLATION: {error}"
            self.violations.append(f"run {self.runs} ({place}), left in {run.root}: {error}")
        else:
            shutil.rmtree(run.root)
        self.kills += len(killed)
        self.during.update(killed)
        seconds = time.monotonic() - began
        return f"run {self.runs:3} {place:6} {seconds:4.0f} s  killed {len(killed)} ({', '.join(killed)}): {result}"

    def _run(self, place: str) -> Run:
        root = Path(tempfile.mkdtemp(prefix=f"{place}-", dir=self.root))
        run = Run(spec_of(root, self.model, self.quotes), root, self.losses)
        if place == "s3":
            run.into_s3(self.server.make_bucket())
        elif place == "hub":
            run.onto_the_hub(self.hub, f"me/{root.name.lower()}")
        return run

    def _killer(self, run: Run) -> OnEvent:
        after, lag = self.chance.randrange(1, self.length), self.chance.random() * LONGEST_LAG_S
        seen = itertools.count(1)

        def count(process: Process, _: Event) -> None:
            if next(seen) == after:
                threading.Timer(lag, kill_if_no_verdict, (run, process)).start()

        return count


def kill_if_no_verdict(run: Run, process: Process) -> None:
    """Kills it now, or later, where it would be the second death in a row at one point: that ends a run, with 79."""
    store = open_store(run.spec["run"]["store"])
    while process.poll() is None:
        latest = max((int(Path(key).stem) for key in store.list(f"runs/{run.id}/attempts/")), default=0)
        with suppress(DiedSilently):
            attempts.judge(store, run.id, attempts.Attempt(store, run.id, latest + 1))
            break
        time.sleep(0.01)
    kill(process)


def _stage_of(events: list[Event]) -> str:
    """What was at work at the end."""
    stages: list[str] = []
    for event in events:
        if event["event"] == "stage.start":
            stages.append(event["stage"])
        elif event["event"] in ("stage.end", "stage.error") and event["stage"] in stages:
            stages.remove(event["stage"])
    return stages[-1] if stages else "between stages"


@contextmanager
def prepared(root: Path, seed: int) -> Iterator[Soak]:
    """The model, its rows and the servers; the environment leads to them."""
    for variable in [name for name in os.environ if name.startswith(("AWS_", "HF_"))]:
        del os.environ[variable]
    (root / "s3").mkdir()
    server, hub = Server(root / "s3"), Hub(root / "hub")
    token = hub.token("hf_" + "soakTOKENsoakTOKENsoakTOKEN01")
    home = {"HF_HOME": str(root / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ.update(home | server.environment | {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "OMP_NUM_THREADS": "1"})
    os.environ["FINETUNE_ALLOW_PRIVATE_HOSTS"] = "127.0.0.1"
    server.start()
    try:
        model, quotes = make_llama(root / "tiny-llama"), write_quotes(root / "quotes.jsonl")
        yield Soak(random.Random(seed), root, model, quotes, server, hub)
    finally:
        server.stop()
        hub.stop()


def soak(kills: int, seconds: float, seed: int, root: Path) -> Soak:
    """Runs until so many kills were made or the time is over; prints a line a run."""
    until = time.monotonic() + seconds
    with prepared(root, seed) as made:
        made.undisturbed()
        for place in itertools.cycle(PLACES):
            if made.kills >= kills or time.monotonic() > until:
                return made
            sys.stdout.write(made.disturb(place, kills - made.kills) + "\n")
            sys.stdout.flush()
    raise AssertionError("unreachable")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20, help="end after so many kills (20)")
    parser.add_argument("--seconds", type=float, default=600, help="begin no run after so many seconds (600)")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; a new one is drawn and printed")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    sys.stdout.write(f"seed {seed}\n")
    logs.configure(to_stdout=False)
    began, root = time.monotonic(), Path(tempfile.mkdtemp(prefix="soak-"))
    made = soak(given.kills, given.seconds, seed, root)
    during = ", ".join(f"{stage} {count}" for stage, count in made.during.most_common())
    sys.stdout.write(
        f"{made.kills} kills and {made.lost} lost nodes in {made.runs} runs, {time.monotonic() - began:.0f} s; "
        f"{len(made.violations)} violations\nkilled during: {during}\n"
    )
    for violation in made.violations:
        sys.stdout.write(f"{violation}\n")
    if not made.violations:
        shutil.rmtree(root)
    sys.exit(1 if made.violations or not made.kills else 0)


if __name__ == "__main__":
    main()
