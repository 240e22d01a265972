"""What is put together on this side of the API: a ConfigMap that was left behind, settings that differ."""

from typing import Any

from k8s.cluster.differences import note_on
from k8s.cluster.submit import _put_config_map
from k8s.errors import AlreadyThere, ObjectNotFound
from k8s.manifest.render import Manifest, render
from tests.k8s.job_settings import EVERYTHING, settings, spec


class Leftovers:
    """A cluster in which a ConfigMap is still there. `owned`: by a Job; `alive`: which exists."""

    def __init__(self, *, owned: bool, alive: bool, gone: bool = False) -> None:
        self.owned, self.alive, self.gone, self.calls = owned, alive, gone, []

    def create(self, item: Any) -> None:
        self.calls.append("create")
        if self.calls.count("create") == 1:
            raise AlreadyThere("it is there")

    def config_map(self, name: str) -> Any:
        if self.gone:
            raise ObjectNotFound("it is gone")
        return {"metadata": {"ownerReferences": [{"uid": "old"}]} if self.owned else {}}

    def job(self, name: str) -> Any:
        if not self.alive:
            raise ObjectNotFound("no job")
        return made().job | {"metadata": made().job["metadata"] | {"creationTimestamp": "2026-01-01T00:00:00Z"}}

    def pods(self, name: str) -> list[Any]:
        return []

    def delete_config_map(self, name: str) -> None:
        self.calls.append("delete")


def made(**more: Any) -> Manifest:
    return render(settings(**EVERYTHING | more), spec())


def put(cluster: Any) -> bool:
    return _put_config_map(cluster, made())


def test_a_config_map_whose_job_was_deleted_is_replaced_before_it_is_collected() -> None:
    left = Leftovers(owned=True, alive=False)
    assert put(left) and left.calls == ["create", "delete", "create"]
    collected = Leftovers(owned=True, alive=False, gone=True)
    assert put(collected) and collected.calls == ["create", "create"]


def test_a_config_map_of_a_job_that_exists_or_is_being_made_is_used() -> None:
    for there in (Leftovers(owned=True, alive=True), Leftovers(owned=False, alive=False)):
        assert not put(there) and there.calls == ["create"]


def test_only_settings_that_differ_are_named() -> None:
    assert note_on(made().job, made().job) == ""
    job = made(env={"AWS_ENDPOINT_URL": "https://other"}, image="registry.example/finetune-run:2", ttl_s=None).job
    assert note_on(made().job, job) == (
        "it was sent with other settings, and keeps them: containers.finetune.image, "
        "containers.finetune.env.HF_HOME.value, containers.finetune.env.AWS_ENDPOINT_URL.value"
    )
    assert "ttlSecondsAfterFinished" in note_on(job, made().job)
