"""What is refused, and what the refusal says: wishes that make no sense, and cards that nobody has."""

from typing import Any

import pytest

from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.placement.nodes import Node
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import PRODUCT, crowd, linux, shared, sliced, whole


@pytest.mark.parametrize("provider", ["digitalocean://1", "linode://2", "ocid1.instance.oc1.x", "gce://p/z/n"])
def test_a_named_label_is_enough_for_a_pool_at_zero_in_any_cloud(provider: str) -> None:
    found = place(Wish.of("t4", label="accelerator=t4"), [Node("cpu", provider_id=provider)])
    assert not found.nodes and any("scaled to zero" in note for note in found.notes)
    assert Node("t4", {"accelerator": "t4"}).satisfies(found.terms)


@pytest.mark.parametrize("provider", ["", "k3s://cpu", "kind://docker/kind/cpu"])
def test_where_no_cloud_starts_nodes_a_label_that_no_node_has_is_refused(provider: str) -> None:
    with pytest.raises(GpuUnavailable, match="no t4"):
        place(Wish.of("t4", label="accelerator=t4"), [Node("cpu", provider_id=provider)])


def test_a_run_is_sent_by_force_with_a_note_where_no_node_has_the_card() -> None:
    nodes = [whole("gfd", "l4")]
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), nodes)
    assert "--force" in refusal.value.hint
    found = place(Wish.of("t4", force=True), nodes)
    assert whole("gfd", "t4").satisfies(found.terms) and not found.nodes
    assert any("is sent (--force)" in note and "1 x l4" in note for note in found.notes)


def test_a_refusal_says_what_there_is_instead() -> None:
    nodes = [whole("gfd", "l4"), sliced("gfd", "h100", "1g.10gb", mixed=True), shared("gfd", "a10")]
    odd = linux("v100", {PRODUCT: "Tesla-V100-SXM2-16GB"}, gpus={"nvidia.com/gpu": 2})
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), [*nodes, odd])
    has = "It has: 1 x l4, 7 x h100 MIG 1g.10gb, 4 x a10 shared, 2 x Tesla-V100-SXM2-16GB."
    assert refusal.value.hint == f"{has} `launch --force` sends it all the same."


def test_an_empty_cluster_asks_for_the_platform() -> None:
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), [])
    assert "--platform" in refusal.value.hint
    assert place(Wish.of("t4", platform="gke"), []).gpus == ("t4",)


def test_a_card_that_the_cloud_does_not_have_is_refused() -> None:
    with pytest.raises(GpuUnavailable, match="no l40s"):
        place(Wish.of("l40s"), crowd("gke"))


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        ("t5", {}, "not known"),
        ("", {}, "empty"),
        ("t4", {"shared": True, "mig": "1g.5gb"}, "cannot be combined"),
        ("a100-40", {"mig": "huge"}, "not a MIG profile"),
        ("t4", {"mig": "1g.5gb", "platform": "gke"}, "no MIG"),
        ("t4", {"label": "nonsense"}, "not a label"),
        ("auto", {"label": "a=b"}, "without a GPU"),
        ("t4", {"platform": "custom"}, "needs the label"),
        ("t4", {}, "cannot be read"),
        ("t4", {"platform": "gfd", "spot": True}, "spot"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(text: str, options: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsInvalid, match=what):
        place(Wish.of(text, **options), None)
