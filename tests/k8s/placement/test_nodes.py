"""Nodes from the API's JSON, and what the scheduler would say of them."""

from typing import Any

import pytest

from k8s.placement.nodes import Expression, Node, Taint, Toleration, node_of, quantity


def item(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "n", "labels": {"a": "b"}},
        "spec": {
            "providerID": "aws:///eu-1/i-1",
            "taints": [
                {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
            ],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]} | status,
    }


def test_a_node_is_read_from_the_api() -> None:
    has = {"cpu": "3920m", "memory": "15Gi", "ephemeral-storage": "47093746742", "nvidia.com/gpu": "1", "pods": "110"}
    found = node_of(item(allocatable=has), {"nvidia.com/gpu": 1, "memory": 1 << 30})
    assert (found.cpu, found.memory, found.disk) == (3.92, 15 << 30, 47_093_746_742)
    assert found.free_memory == 14 << 30 and node_of(item(allocatable=has)).free_memory == 0
    assert found.gpus == {"nvidia.com/gpu": 1} and found.free("nvidia.com/gpu") == 0
    assert found.taints == (Taint("nvidia.com/gpu", "", "NoSchedule"),) and found.ready


def test_a_node_that_says_nothing_of_itself_has_nothing() -> None:
    found = node_of({"metadata": {"name": "n"}})
    assert (found.gpus, found.memory, found.labels, found.taints) == ({}, 0, {}, ())


def test_cordoned_and_dead_nodes_are_not_ready() -> None:
    cordoned = item()
    cordoned["spec"]["unschedulable"] = True
    assert not node_of(cordoned).ready
    assert not node_of(item(conditions=[{"type": "Ready", "status": "Unknown"}])).ready


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("1k", 1000), ("2Ki", 2048), ("1.5Gi", 3 << 29), ("1e3", 1000), ("1E", 10**18)]
)
def test_quantities_are_read_as_kubernetes_does(text: str, count: int) -> None:
    assert quantity(text) == count


@pytest.mark.parametrize("text", ["", "Gi", "1gb", "-", "1.2.3"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        (Expression("a", "In", ("b", "c")), True),
        (Expression("x", "In", ("b",)), False),
        (Expression("a", "NotIn", ("b",)), False),
        (Expression("x", "NotIn", ("b",)), True),
        (Expression("a", "Exists"), True),
        (Expression("x", "DoesNotExist"), True),
        (Expression("a", "DoesNotExist"), False),
    ],
)
def test_requirements_are_judged_as_the_scheduler_does(expression: Expression, matches: bool) -> None:
    assert expression.matches({"a": "b"}) is matches


def test_only_hard_taints_that_nothing_tolerates_keep_a_pod_off() -> None:
    taints = (Taint("a", "1", "NoSchedule"), Taint("b", "2", "NoExecute"), Taint("c", "3", "PreferNoSchedule"))
    node = Node("n", taints=taints)
    assert node.barriers([]) == list(taints[:2])
    assert node.barriers([Toleration("a"), Toleration("b", "2")]) == [taints[1]], "for another effect"
    assert node.barriers([Toleration("a", "1"), Toleration("b", None, None)]) == []
    assert node.barriers([Toleration("a", "other"), Toleration("b", "2", "NoExecute")]) == [taints[0]]
