"""What several tests of training on push share: a push into a namespace of its own."""

from pathlib import Path

import pytest

from tests.cluster.fixtures import Cluster
from tests.push.pushes import Pushed


@pytest.fixture
def pushed(cluster: Cluster, tmp_path: Path) -> Pushed:
    cluster.nodes.add("plain")
    return Pushed(cluster, tmp_path)
