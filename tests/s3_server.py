"""A real S3 server (versitygw) on loopback.

`s3` gives a test its own bucket and sets the environment by which boto3 finds it.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT

REGION = "us-east-1"


def versitygw() -> str:
    """The program; built into the cache by the first who asks."""
    program = ROOT / ".venv" / "bin" / "versitygw"
    if not program.exists():
        command = [ROOT / "scripts" / "build-go.sh", "versitygw"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return str(program)


class Server:
    """One versitygw with keys of its own, on a port that it keeps over stop() and start()."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", region: str = REGION, domain: str | None = None) -> None:
        """`domain`: the name below which each bucket has a host of its own (virtual-host style)."""
        self.host, self.region, self.domain = host, region, domain
        self.root = folder / "buckets"
        self.root.mkdir()
        self.access_key = "TEST" + secrets.token_hex(8).upper()
        self.secret_key = secrets.token_hex(20)
        self.port = free_port()
        self._log = folder / "versitygw.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Starts it, unless it runs, and waits until it answers."""
        if self._process is not None:
            return
        environ = os.environ | {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        command = [
            versitygw(),
            "--quiet",
            "--health",
            "/health",
            "--port",
            f"{self.host}:{self.port}",
            "--region",
            self.region,
            *(["--virtual-domain", f"{self.domain}:{self.port}"] if self.domain else []),
            "posix",
            self.root,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        for _ in range(200):
            try:
                with socket.create_connection((self.host, self.port), timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                time.sleep(0.05)
        raise TimeoutError("versitygw does not answer")

    def stop(self) -> None:
        """Kills it: whoever talks to it finds nobody there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def environment(self) -> dict[str, str]:
        """By which boto3 finds it, and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self) -> "Bucket":
        name, client = f"test-{secrets.token_hex(6)}", self.client()
        client.create_bucket(Bucket=name)
        return Bucket(self, name, f"s3://{name}/prefix", client, self.root / name)

    def client(self, endpoint: str | None = None) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )


@dataclass
class Bucket:
    """A bucket of a test's own. `root` is where the server keeps its objects on this disk."""

    server: Server
    bucket: str
    url: str
    client: Any
    root: Path

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.start()

    def file(self, key: str) -> Path:
        """The file in which the server keeps an object of this prefix."""
        return self.root / "prefix" / key


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for each test process."""
    server = Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fresh bucket, and the environment that leads to it."""
    s3_server.start()
    for variable in list(os.environ):
        if variable.startswith("AWS_"):
            monkeypatch.delenv(variable)
    for variable, value in s3_server.environment.items():
        monkeypatch.setenv(variable, value)
    bucket = s3_server.make_bucket()
    yield bucket
    bucket.client.close()
    s3_server.start()
    shutil.rmtree(bucket.root, ignore_errors=True)


def free_port() -> int:
    """A port of loopback that nobody listens on, below those that the kernel gives to connections
    (net.ipv4.ip_local_port_range): one of these could take it before the server does, even that which asks for it."""
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
