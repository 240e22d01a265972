"""What a run makes is never left in a pod, by the launcher and by the chart."""

from typing import Any

import pytest

from k8s.chart.emit import values_of
from k8s.errors import SettingsInvalid
from k8s.manifest.render import render
from tests.k8s.chart.charts import refused, template
from tests.k8s.job_settings import settings, spec

ROWS = {"name": "out", "persistentVolumeClaim": {"claimName": "rows"}}
SHORT = {"name": "out", "emptyDir": {}}
MOUNT = {"name": "out", "mountPath": "/out"}
STORE = {"run": {"store": "s3://bucket/runs"}}
LOST: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"publish": {"folder": "./out"}}, {}),
    ({"publish": {"folder": "/out"}}, {"store_pvc": "runs"}),
    ({"publish": {"folder": "/store/../out"}}, {"store_pvc": "runs"}),
    ({"publish": {"folder": "/stores"}}, {"store_pvc": "runs"}),
    ({"publish": {"folder": "/out"}}, {"volumes": (SHORT,), "volume_mounts": (MOUNT,)}),
    ({"run": {"store": "runs"}}, {"store_pvc": "runs"}),
    ({"run": {"store": "/work/store"}}, {}),
]
KEPT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (STORE | {"publish": {"s3": "s3://bucket/out"}}, {}),
    ({"publish": {"folder": "/store/models"}}, {"store_pvc": "runs"}),
    ({"publish": {"folder": "../out/models"}}, {"volumes": (ROWS,), "volume_mounts": (MOUNT,)}),
    ({"publish": {"folder": "/cache/models"}}, {"cache_pvc": "models"}),
    (STORE | {"publish": {"folder": "/store/models"}}, {"store_pvc": "runs"}),
    (STORE | {"dataset": {"id": "/store/rows.jsonl"}}, {"store_pvc": "runs"}),
]


@pytest.mark.parametrize(("sections", "given"), LOST, ids=str)
def test_a_folder_that_is_lost_with_the_pod_is_refused(sections: dict[str, Any], given: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid, match=r"(publish.folder|run.store): \S+ is a folder of the pod"):
        render(settings(**given), spec(**sections))


@pytest.mark.parametrize(("sections", "given"), KEPT, ids=str)
def test_a_folder_on_a_volume_is_sent(sections: dict[str, Any], given: dict[str, Any]) -> None:
    assert render(settings(**given), spec(**sections)).job


def test_a_volume_for_the_store_that_nothing_uses_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="would stay empty"):
        render(settings(store_pvc="runs"), spec(**STORE))


@pytest.mark.slow
@pytest.mark.parametrize(("sections", "given"), [*LOST, (STORE, {"store_pvc": "runs"})], ids=str)
def test_the_chart_refuses_the_same(sections: dict[str, Any], given: dict[str, Any]) -> None:
    said = refused(values_of(settings(**given), spec(**sections)))
    assert "is a folder of the pod, which is lost with it" in said or "would stay empty" in said


@pytest.mark.slow
@pytest.mark.parametrize(("sections", "given"), KEPT, ids=str)
def test_the_chart_renders_the_same(sections: dict[str, Any], given: dict[str, Any]) -> None:
    assert template(values_of(settings(**given), spec(**sections)))
