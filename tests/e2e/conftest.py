"""What the cases share: a cluster, a real S3 server and the local Hub, both where pods reach them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.images import built
from tests.e2e.node import HOST, Cluster
from tests.e2e.place import Place, address_towards
from tests.hub_server import Hub
from tests.s3_server import Server

TOKEN = "hf_" + "localtokenLOCALTOKEN" + "0123456789"


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """Of the cluster that KUBECONFIG names, or of one that lives as long as the session."""
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    # A socket's path may have 107 bytes, so not below pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), Path(os.environ["FINETUNE_CACHE"]))
        try:
            cluster.start()
            image = built()
            cluster.load(image)
            os.environ.setdefault("FINETUNE_IMAGE", image.name)
            yield cluster.admin
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def host(kubeconfig: Path) -> str:
    """The address at which pods reach this machine."""
    return os.environ.get("FINETUNE_E2E_HOST") or (address_towards(kubeconfig) if "KUBECONFIG" in os.environ else HOST)


@pytest.fixture(scope="session")
def hub(host: str, tiny_model: Path, quotes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with the tiny model and its rows."""
    server = Hub(tmp_path_factory.mktemp("hub"), host=host)
    server.token(TOKEN)
    server.add("me/tiny", tiny_model)
    server.add("me/quotes", {"train.jsonl": quotes.read_bytes()}, "dataset")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("s3"), host)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def place(kubeconfig: Path, hub: Hub, s3_server: Server, tmp_path: Path) -> Iterator[Place]:
    """A namespace of the test's own, which enforces Pod Security `restricted`, and a bucket."""
    made = Place(kubeconfig, hub, s3_server, TOKEN, tmp_path)
    made.create()
    yield made
    made.delete()
