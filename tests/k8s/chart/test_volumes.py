"""Volumes for the store and the cache: made, used, and refused where several nodes cannot mount them."""

from typing import Any

import pytest

from tests.k8s.chart.charts import LEAST, pod_of, refused, template, variables

pytestmark = pytest.mark.slow


def test_volumes_that_the_chart_makes_are_kept() -> None:
    objects = template(LEAST | {"store": {"size": "20Gi"}, "cache": {"size": "5Gi"}})
    claims = {one["metadata"]["name"]: one for one in objects if one["kind"] == "PersistentVolumeClaim"}
    assert set(claims) == {"mine-finetune-run-store", "mine-finetune-run-cache"}
    assert all(one["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for one in claims.values())
    assert variables(objects)["FINETUNE__RUN__STORE"] == "/store"
    used = [
        one["persistentVolumeClaim"]["claimName"]
        for one in pod_of(objects)["volumes"]
        if "persistentVolumeClaim" in one
    ]
    assert sorted(used) == sorted(claims)


def test_a_claim_that_is_there_is_used_and_not_made() -> None:
    objects = template(LEAST | {"cache": {"existingClaim": "models"}})
    assert not [one for one in objects if one["kind"] == "PersistentVolumeClaim"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}} in pod_of(objects)["volumes"]


@pytest.mark.parametrize(("of", "mode"), [("store", "ReadWriteOnce"), ("cache", "ReadWriteOncePod")])
@pytest.mark.parametrize("claim", [{"existingClaim": "mine"}, {"size": "5Gi"}], ids=str)
def test_runs_at_a_time_need_a_volume_that_several_nodes_can_mount(of: str, mode: str, claim: dict[str, Any]) -> None:
    sweep = LEAST | {"sweep": [{"lora.r": 8}, {"lora.r": 16}], "parallel": 5}
    said = refused(sweep | {of: claim | {"accessMode": mode}})
    assert "2 runs at a time cannot mount the claim mine" in said and f"{of}.accessMode is {mode}" in said
    template(sweep | {of: claim | {"accessMode": "ReadWriteMany"}})
    template(sweep | {of: claim, "parallel": 1})
    on_one_node = sweep | {of: claim | {"accessMode": mode}, "nodeSelector": {"kubernetes.io/hostname": "a"}}
    if mode == "ReadWriteOnce":
        template(on_one_node)
    else:
        assert "runs at a time" in refused(on_one_node)
