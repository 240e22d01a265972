"""Large files go to the Hub and come from it by Xet, as they do on the public one."""

import hashlib
import os
from pathlib import Path

import pytest

from job.hub.download import commit_of, download, list_files
from job.publish.hub import HubPublisher
from job.spec import sections
from tests.hub_server import Hub

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    return path


def test_a_file_is_uploaded_by_xet_and_is_whole_in_the_commit(xet_hub: Hub, file: Path) -> None:
    publisher = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
    publisher.check_write()
    publisher.preupload(file, "m.gguf")
    file.unlink()
    publisher.commit("m: 1 file")
    assert xet_hub.asked("GET .*/xet-write-token/") and not xet_hub.asked("PUT /lfs-store")
    assert xet_hub.repos.read(xet_hub.repo("me/made"), "m.gguf") == CONTENT


def test_a_file_is_downloaded_by_xet_and_checked(xet_hub: Hub, file: Path, tmp_path: Path) -> None:
    xet_hub.add("me/there", {"model.safetensors": CONTENT})
    commit = commit_of("me/there")
    found = download("me/there", commit, list_files("me/there", commit), tmp_path / "got")
    assert xet_hub.asked("GET .*/xet-read-token/") and not xet_hub.asked("GET /cdn/")
    assert (tmp_path / "got" / "model.safetensors").read_bytes() == CONTENT
    assert found["model.safetensors"] == hashlib.sha256(CONTENT).hexdigest()
