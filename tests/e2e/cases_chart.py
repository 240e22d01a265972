"""The chart's way: installed, checked, upgraded, and its network policy admitted."""

import os
from pathlib import Path
from typing import Any

import pytest

from k8s.yaml_text import text_of
from tests.e2e.cases_interruptions import LONG
from tests.e2e.cases_launch import fetched, generated
from tests.e2e.place import RESOURCES, SECRET, Place
from tests.k8s.chart.charts import CHART, helm


class Release:
    """A release in the case's namespace, on the T4."""

    def __init__(self, place: Place, name: str = "mine") -> None:
        self.place, self.name, self.image = place, name, os.environ["FINETUNE_IMAGE"]
        self.where = (f"--kubeconfig={place.kubeconfig}", f"--namespace={place.namespace}")

    def install(self, spec: dict[str, Any], **values: Any) -> str:
        """Gives the Job's name."""
        repository, _, tag = self.image.rpartition(":")
        _, cpu, _, memory, _, disk = RESOURCES
        path = self.place.folder / "values.yaml"
        base = {
            "spec": spec,
            "image": {"repository": repository, "tag": tag},
            "gpu": "t4",
            "platform": "gfd",
            "existingSecret": SECRET,
            "env": self.place.variables,
            "resources": {"cpu": cpu, "memory": memory, "disk": disk},
        }
        path.write_text(text_of([base | values]))
        known = set(self.place.jobs())
        helm("upgrade", "--install", self.name, str(CHART), "-f", str(path), *self.where)
        (job,) = set(self.place.jobs()) - known
        return job


@pytest.fixture
def release(place: Place) -> Release:
    return Release(place)


def test_an_installed_run_completes_and_its_file_generates_text(release: Release, tmp_path: Path) -> None:
    place = release.place
    job = release.install(place.spec(), networkPolicy={"enabled": True})
    assert "Succeeded" in helm("test", "mine", "--timeout", "300s", *release.where)
    assert place.ended(job) == "Complete", place.state()
    assert generated(fetched(place, job, tmp_path / "results")).removeprefix("Of time").strip()


def test_an_upgrade_stops_the_old_run_and_a_rollback_goes_on_from_its_checkpoint(release: Release) -> None:
    place = release.place
    spec = place.spec(training=LONG)
    first = release.install(spec)
    pod = place.running()
    place.until_step(pod, 25)
    second = release.install(place.spec(lora={"r": 4}))
    assert place.ended(second) == "Complete", place.state()
    helm("rollback", "mine", "1", *release.where)
    assert first in place.jobs()
    place.until_event(place.running(), lambda event: event.get("event") == "train.resume", "the training to go on")
    assert place.ended(first) == "Complete", place.state()


def test_two_installs_of_one_run_id_do_not_double_it(release: Release) -> None:
    place = release.place
    spec = place.spec(run={"id": "one-run"}, training={"max_steps": 150, "save_steps": 10, "max_length": 96})
    first = release.install(spec)
    place.until_step(place.running(), 10)
    beside = {"gpu": "none", "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}  # the one card is taken
    second = Release(place, "other").install(spec, **beside)
    assert place.ended(second) == "Complete", place.state()  # tried again, it finds the work of the first
    ends = [one.status.container_statuses[0].state.terminated for one in place.pods("Failed")]
    assert {end.exit_code for end in ends} == {84}
    assert place.ended(first) == "Complete", place.state()
    ends = [one for one in place.events("one-run") if one["event"] == "stage.end" and one.get("stage") == "train"]
    assert len(ends) == 1
