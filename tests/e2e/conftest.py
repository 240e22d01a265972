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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_cluster: does to the node what only its owner can")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On somebody else's cluster, what needs the node itself is left out, and counted as such."""
    theirs = [one for one in items if "KUBECONFIG" in os.environ and one.get_closest_marker("own_cluster")]
    config.hook.pytest_deselected(items=theirs)
    items[:] = [one for one in items if one not in theirs]


@pytest.fixture(scope="session")
def node() -> Iterator[Cluster]:
    """A cluster that lives as long as the session."""
    # A socket's path may have 107 bytes, so not below pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), Path(os.environ["FINETUNE_CACHE"]))
        try:
            cluster.start()
            image = built()
            cluster.load(image)
            os.environ.setdefault("FINETUNE_IMAGE", image.name)
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """Of the cluster that KUBECONFIG names, or of our own."""
    given = os.environ.get("KUBECONFIG")
    return Path(given) if given else request.getfixturevalue("node").admin


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
