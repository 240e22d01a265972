"""Waits for the runs of a push, and exits with the code of the first that failed."""

import time
from functools import partial

import typer

from k8s.cluster.client import Cluster
from k8s.cluster.follow import Event, Follower
from k8s.cluster.runs import Run, last_words
from k8s.errors import RunAborted, WaitedTooLong
from k8s.output import meaning, say
from push.summary import state


def ends(cluster: Cluster, names: list[str], timeout_s: float | None) -> dict[str, Run]:
    """Every run at its end, or its state when the time is over: the runs go on by themselves."""
    found = {}
    until = None if timeout_s is None else time.monotonic() + timeout_s
    for name in dict.fromkeys(names):
        left = None if until is None else max(0.0, until - time.monotonic())
        try:
            found[name] = Follower(cluster, name, _unheard, partial(_say, name), logs=False).run(left)
        except WaitedTooLong as error:
            say(error.message)
        else:
            if found[name].state == "failed":
                for line in last_words(cluster, name):
                    say(f"{name}: {line}")
    return found


def _unheard(event: Event) -> None:
    """Ignores logs: everybody who can read the workflow's log would see them."""


def _say(name: str, text: str) -> None:
    say(f"{name}: {text}")


def check(names: list[str], found: dict[str, Run]) -> None:
    """Exits with the code of the first run that failed. Raises RunAborted, WaitedTooLong."""
    for run in found.values():
        if run.state == "failed":
            say(f"{run.name} {state(run)}" + (f": {meaning(run.code)}" if run.code else f": {run.why}"), style="bad")
    codes = [run.code for run in found.values() if run.state == "failed"]
    if codes and codes[0]:
        raise typer.Exit(codes[0])
    if codes:
        raise RunAborted("a run ended without an exit code", hint="`finetune-run status NAME` shows its pods.")
    if missing := set(names) - set(found):
        raise WaitedTooLong(
            f"{', '.join(sorted(missing))}: not finished yet; they go on", hint="`report` shows when they end."
        )
