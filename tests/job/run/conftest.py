"""What several tests of a run share."""

import signal
from collections.abc import Iterator

import pytest

from job.run.supervise import Supervisor


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    made = Supervisor()
    made.install()
    yield made
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
