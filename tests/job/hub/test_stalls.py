"""A transfer that stalls ends: nothing waits for ever for the Hub, nor for Xet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from job.errors import RemoteUnavailable
from job.hub import calls
from job.hub.download import list_files
from job.publish.hub import HubPublisher
from job.spec import sections
from tests.hub_server import Hub

FOREVER = 3600.0


@pytest.fixture
def publisher(impatient_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubPublisher:
    """It is ready to upload, and has little patience."""
    monkeypatch.setattr(calls, "STALL_S", 0.5)
    (tmp_path / "m.gguf").write_bytes(b"x" * 100_000)
    made = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
    made.check_write()
    return made


def test_a_put_that_is_not_answered_is_sent_again(hub: Hub, tmp_path: Path, publisher: HubPublisher) -> None:
    hub.fail("PUT /lfs-store", times=1, delay_s=FOREVER)
    publisher.preupload(tmp_path / "m.gguf", "m.gguf")
    publisher.commit("m: 1 file")
    assert hub.repos.read(hub.repo("me/made"), "m.gguf") == b"x" * 100_000


@pytest.mark.parametrize("request_", ["PUT /lfs-store", "POST .*/preupload", "GET .*/commits", "POST .*/commit"])
def test_a_request_that_is_never_answered_ends_the_upload(
    hub: Hub, tmp_path: Path, publisher: HubPublisher, request_: str
) -> None:
    hub.fail(request_, times=1000, delay_s=FOREVER)
    with pytest.raises(RemoteUnavailable, match="cannot be reached"):
        publisher.preupload(tmp_path / "m.gguf", "m.gguf")
        publisher.commit("m: 1 file")


def test_a_listing_that_is_never_answered_ends(hub: Hub, publisher: HubPublisher) -> None:
    hub.fail("GET .*/tree", times=1000, delay_s=FOREVER)
    with capture_logs() as records, pytest.raises(RemoteUnavailable):
        list_files("me/made", "main")
    assert [one["tries"] for one in records if one["event"] == "hub.retry"] == [1], "a stall is tried once more"


PUBLISH = """
import sys
from pathlib import Path
from job.errors import RemoteUnavailable
from job.hub import calls
from job.publish.hub import HubPublisher
from job.spec import sections
calls.STALL_S, calls.STALLS, calls.TRIES = 0.5, 1, 2
made = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
made.check_write()
try:
    made.preupload(Path(sys.argv[1]), "m.gguf")
except RemoteUnavailable as error:
    sys.exit(error.code)
"""


def test_an_upload_by_xet_that_stalls_ends(xet_hub: Hub, silent: str, tmp_path: Path) -> None:
    assert xet_hub.xet
    xet_hub.xet.url = silent
    (tmp_path / "m.gguf").write_bytes(os.urandom(3_000_000))
    command = [sys.executable, "-c", PUBLISH, str(tmp_path / "m.gguf")]
    environment = os.environ | {"HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms"}
    done = subprocess.run(command, timeout=90, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == RemoteUnavailable.code, done.stdout + done.stderr
