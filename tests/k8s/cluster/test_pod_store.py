"""The pod that reads a volume: its command sends the volume's files, and imports nothing from it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k8s.cluster.pod_programs import SEND
from k8s.cluster.volume_pod import volume_pod

CONTENT = bytes(range(256)) * 9000


class Sender:
    """The pod's command, in a folder for the volume."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-c", SEND, str(folder)]
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, key: str, start: int = 0) -> bytes | None:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps([key, start]).encode() + b"\n")
        process.stdin.flush()
        left = json.loads(process.stdout.readline())
        return None if left is None else process.stdout.read(left)

    def end(self) -> int:
        self._process.communicate(timeout=30)
        return self._process.returncode


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    volume = tmp_path / "volume"
    (volume / "runs").mkdir(parents=True)
    (volume / "runs" / "manifest.json").write_bytes(CONTENT)
    (volume / "json.py").write_text("raise SystemExit('imported from the volume')\n")
    (volume / "out").symlink_to("/etc/hostname")
    (volume / "in").symlink_to("runs/manifest.json")
    found = Sender(volume)
    yield found
    assert found.end() == 0


def test_files_are_sent_whole_or_from_where_a_transfer_stopped(sender: Sender) -> None:
    assert sender("runs/manifest.json") == CONTENT
    assert sender("runs/manifest.json", 1_000_000) == CONTENT[1_000_000:]
    assert sender("runs/manifest.json", len(CONTENT)) == sender("runs/manifest.json", len(CONTENT) + 5) == b""
    assert sender("in") == CONTENT


@pytest.mark.parametrize("key", ["nothing", "runs", "runs/manifest.json/x", "out", "../other", "/etc/hostname"])
def test_what_is_not_a_file_of_the_volume_is_not_there(sender: Sender, key: str) -> None:
    assert sender(key) is None
    assert sender("in") == CONTENT, "it goes on"


def test_the_pod_listens_on_no_port_and_fits_a_quota_of_every_kind() -> None:
    pod: Any = volume_pod("claim", "image", None)
    (container,) = pod["spec"]["containers"]
    assert not {"ports", "env", "readinessProbe"} & set(container)
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
