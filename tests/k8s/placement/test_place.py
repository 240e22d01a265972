"""Every GPU on every platform, whole, shared and as a slice, is found among the wrong cards."""

import pytest

from job.predict.gpus import GPUS
from k8s.errors import GpuUnavailable
from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import CARDS, PROFILES, crowd, shared, sliced
from tests.k8s.placement.landing import lands_on

EACH = [(platform, gpu) for platform, cards in CARDS.items() for gpu in cards]
CUT = [(platform, gpu) for platform, gpu in EACH if gpu in PROFILES]


def test_every_gpu_of_the_table_has_names_and_no_other() -> None:
    assert list(GPU_NAMES) == list(GPUS)
    assert all(names.gfd for names in GPU_NAMES.values())


@pytest.mark.parametrize(("platform", "gpu"), EACH)
def test_a_whole_card_is_found_among_the_wrong_ones(platform: str, gpu: str) -> None:
    nodes = crowd(platform)
    found = place(Wish.of(gpu), nodes)
    assert lands_on(found, nodes) == {f"{gpu}-whole"} == set(found.nodes)
    assert found.resource == "nvidia.com/gpu" and found.memory == GPUS[gpu].memory


@pytest.mark.parametrize(("platform", "gpu"), EACH)
def test_the_platform_can_be_told_where_the_nodes_cannot_be_read(platform: str, gpu: str) -> None:
    found = place(Wish.of(gpu, platform=platform), None)
    assert lands_on(found, crowd(platform)) == {f"{gpu}-whole"}
    assert any("cannot be read" in note for note in found.notes)


@pytest.mark.parametrize(
    ("platform", "gpu", "renamed"),
    [(*one, renamed) for one in EACH for renamed in (False, True)[: 1 + (one[0] != "gke")]],
)
def test_a_share_is_taken_only_where_it_is_asked_for(platform: str, gpu: str, renamed: bool) -> None:
    right = shared(platform, gpu, renamed)
    others = [node for node in crowd(platform) if not node.name.startswith(f"{gpu}-shared")]
    nodes = [*others, right]
    found = place(Wish.of(gpu, shared=True), nodes)
    assert lands_on(found, nodes) == {right.name}
    assert found.resource == next(iter(right.gpus))


@pytest.mark.parametrize(
    ("platform", "gpu", "mixed"), [(*one, mixed) for one in CUT for mixed in (False, True)[: 1 + (one[0] != "gke")]]
)
def test_a_slice_is_taken_only_where_it_is_asked_for(platform: str, gpu: str, mixed: bool) -> None:
    right = sliced(platform, gpu, PROFILES[gpu], mixed)
    others = [node for node in crowd(platform) if node.name not in (f"{gpu}-single", f"{gpu}-mixed")]
    nodes = [*others, right]
    found = place(Wish.of(gpu, mig=PROFILES[gpu]), nodes)
    assert lands_on(found, nodes) == {right.name}
    assert found.resource == next(iter(right.gpus))
    assert found.memory < GPUS[gpu].memory / 4


@pytest.mark.parametrize(("platform", "gpu"), EACH)
def test_where_only_the_wrong_cards_are_none_of_them_is_taken(platform: str, gpu: str) -> None:
    nodes = [node for node in crowd(platform) if node.name != f"{gpu}-whole"]
    if platform == "gfd":
        with pytest.raises(GpuUnavailable, match=f"no {gpu}"):
            place(Wish.of(gpu), nodes)
        return
    found = place(Wish.of(gpu), nodes)
    assert lands_on(found, nodes) == set()
    assert not found.nodes and any("scaled to zero" in note for note in found.notes)
