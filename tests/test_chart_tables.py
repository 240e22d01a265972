"""What the chart reads gives what the launcher gives."""

from typing import Any, get_args

import pytest

from k8s.chart_tables import job_table, placement_table
from k8s.errors import GpuUnavailable
from k8s.gpu_names import GPU_NAMES
from k8s.job_base import BASE
from k8s.placement import place
from k8s.platforms import Platform
from k8s.wish import Wish
from k8s.yaml_text import text_of

PLATFORMS = [platform for platform in get_args(Platform) if platform != "custom"]


def as_the_chart_does(platform: str, gpus: list[str], spot: bool) -> tuple[list[Any], list[Any]]:
    one = placement_table()[platform]
    terms = [{"matchExpressions": one["gpus"][gpu] + (one["spot"] if spot else [])} for gpu in gpus]
    return terms, one["tolerations"] + (one["spotTolerations"] if spot else [])


@pytest.mark.parametrize("spot", [False, True])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_given_platform_gives_the_launchers_affinity_and_tolerations(platform: str, spot: bool) -> None:
    if spot and not placement_table()[platform]["spot"]:
        assert platform == "gfd"
        return
    there = list(placement_table()[platform]["gpus"])
    for gpus in ([there[0]], there):
        found = place(Wish.of(",".join(gpus), platform=platform, spot=spot), None)
        terms, tolerations = as_the_chart_does(platform, gpus, spot)
        required = found.affinity()["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert required["nodeSelectorTerms"] == terms
        assert [one.manifest() for one in found.tolerations] == tolerations


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_gpu_that_a_platform_does_not_have_is_in_neither(platform: str) -> None:
    for gpu in set(GPU_NAMES) - set(placement_table()[platform]["gpus"]):
        with pytest.raises(GpuUnavailable):
            place(Wish.of(gpu, platform=platform), None)


def test_a_named_label_comes_before_the_rest() -> None:
    found = place(Wish.of("t4", label="accelerator=t4"), None)
    first, *rest = found.affinity()["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ][0]["matchExpressions"]
    assert first == {"key": "accelerator", "operator": "In", "values": ["t4"]}
    assert rest == placement_table()["custom"]["gpus"]["t4"]


def test_both_tables_can_be_written() -> None:
    assert job_table() == BASE
    assert "nvidia-tesla-t4" in text_of([placement_table()]) and "backoffLimitPerIndex: 3" in text_of([job_table()])
