"""What several tests of a run share."""

import signal
from collections.abc import Iterator

import psutil
import pytest

from job.run.supervise import Supervisor


@pytest.fixture
def _bystanders(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this worker has started for other tests, servers above all, is not ended with a run."""
    known = {process.pid for process in psutil.Process().children(recursive=True)}

    class Own(psutil.Process):
        def children(self, recursive: bool = False) -> list[psutil.Process]:
            return [process for process in super().children(recursive) if process.pid not in known]

    monkeypatch.setattr(psutil, "Process", Own)


@pytest.fixture
def supervisor(_bystanders: None) -> Iterator[Supervisor]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    made = Supervisor()
    made.install()
    yield made
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
