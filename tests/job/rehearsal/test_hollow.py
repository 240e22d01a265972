"""Headers arrive without a hash: one that is damaged on the way is fetched again."""

from pathlib import Path

import pytest

from job.errors import IntegrityViolated
from job.fetch.listing import Listing
from job.rehearsal.hollow import write_hollow
from tests.hub_server import Hub
from tests.job.fetch.models import GOOD, safetensors

LONG = safetensors(*((n, n + 1) for n in range(3000)))
"""Its header takes two requests: one that guesses its length, and one that knows it."""


@pytest.mark.parametrize("damaged", [2, 4])
def test_a_damaged_header_is_fetched_once_more(hub: Hub, tmp_path: Path, damaged: int) -> None:
    found = Listing("someone/model", hub.add("someone/model", GOOD | {"model.safetensors": LONG}))
    hub.fail("GET /cdn/", times=damaged, corrupt=True)
    if damaged == 4:
        with pytest.raises(IntegrityViolated, match=r"someone/model: the header of model\.safetensors is damaged"):
            write_hollow(found, ["model.safetensors"], tmp_path)
    else:
        write_hollow(found, ["model.safetensors"], tmp_path)
        header = len(LONG) - 3000
        assert (tmp_path / "model.safetensors").read_bytes() == LONG[:header] + bytes(3000)
    assert len(hub.asked("GET /cdn/")) == 4
