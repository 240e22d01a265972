"""A short soak: runs that are killed at random moments, in all three places."""

import random
from pathlib import Path

import pytest

from tests.soak import PLACES, soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_twenty_kills_leave_nothing_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.SystemRandom().randrange(10**6)
    made = soak(kills=20, seconds=900, seed=seed, root=tmp_path)
    assert not made.violations, f"seed {seed}: {made.violations}"
    assert made.runs >= len(PLACES) and made.kills
