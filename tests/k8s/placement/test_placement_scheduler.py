"""The real scheduler decides: every GPU on every platform, whole, shared and as a slice, among all the wrong nodes.

tests/k8s/placement/test_place.py asks the same of the rules as this project reads them; here nothing of them is
repeated.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from k8s.placement.nodes import Node
from k8s.placement.wish import Wish
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.gpu_nodes import CARDS, PROFILES, crowd, shared, sliced, whole
from tests.k8s.launcher import add
from tests.k8s.placement.pods import pod_for

pytestmark = pytest.mark.slow


def wishes(platform: str, gpu: str) -> list[tuple[Node, Wish]]:
    """What can be asked for of a card, each with the one node that is right."""
    found = [(whole(platform, gpu), Wish.of(gpu)), (shared(platform, gpu), Wish.of(gpu, shared=True))]
    if platform != "gke":
        found.append((shared(platform, gpu, renamed=True), Wish.of(gpu, shared=True)))
    if profile := PROFILES.get(gpu):
        found.append((sliced(platform, gpu, profile), Wish.of(gpu, mig=profile)))
        if platform != "gke":
            found.append((sliced(platform, gpu, profile, mixed=True), Wish.of(gpu, mig=profile)))
    return found


@pytest.mark.parametrize("platform", CARDS)
def test_each_kind_of_each_card_lands_on_its_own_node(cluster: Cluster, platform: str) -> None:
    nodes = crowd(platform)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda node: add(cluster, node), nodes))
    namespace = cluster.namespace()
    asked = [one for gpu in CARDS[platform] for one in wishes(platform, gpu)]
    for right, wish in asked:
        cluster.core.create_namespaced_pod(namespace, pod_for(wish, right, nodes))

    def landed() -> dict[str, str]:
        return {pod.metadata.name: pod.spec.node_name for pod in cluster.pods(namespace) if pod.spec.node_name}

    eventually(lambda: len(landed()) == len(asked), f"{len(asked)} pods to be scheduled", 60)
    assert landed() == {right.name: right.name for right, _ in asked}
