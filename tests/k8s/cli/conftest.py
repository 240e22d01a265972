"""What several tests of the commands share: a launcher on a real API server, and Kueue's queues there."""

from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import Launcher


@pytest.fixture
def launcher(cluster: Cluster) -> Launcher:
    """In a namespace that enforces Pod Security `restricted`. The volume claim is there, and never bound: pods that
    would wait for it ask for no store."""
    return Launcher(cluster, cluster.namespace(restricted=True))


@pytest.fixture(scope="module")
def kueue(request: pytest.FixtureRequest, shared_cluster: Cluster) -> Iterator[str]:
    """Kueue's LocalQueue as a resource of the API, in the versions that are served: v1beta1 until 0.14, both until
    0.19, v1beta2 from 0.20 on."""
    served = getattr(request, "param", "v1beta2")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": name, "served": True, "storage": not number, "schema": {"openAPIV3Schema": schema}}
        for number, name in enumerate(served.split(","))
    ]
    names = {"plural": "localqueues", "singular": "localqueue", "kind": "LocalQueue"}
    spec = {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names, "versions": versions}
    extensions = client.ApiextensionsV1Api(shared_cluster.api)
    extensions.create_custom_resource_definition({"metadata": {"name": "localqueues.kueue.x-k8s.io"}, "spec": spec})

    def established() -> bool:
        found = extensions.read_custom_resource_definition("localqueues.kueue.x-k8s.io").status.conditions or []
        return any(one.type == "Established" and one.status == "True" for one in found)

    eventually(established, "the resource")
    yield served
    extensions.delete_custom_resource_definition("localqueues.kueue.x-k8s.io")

    def there() -> bool:
        found = extensions.list_custom_resource_definition().items
        return any(one.metadata.name == "localqueues.kueue.x-k8s.io" for one in found)

    eventually(lambda: not there(), "the resource to go")
