"""A run in a queue of Kueue, on a real API server."""

import json
import threading
from pathlib import Path

import pytest
from kubernetes import client

from tests.cluster.fixtures import Cluster
from tests.k8s.launcher import BARE, Launcher, submit
from tests.k8s.rights import user_with

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kueue", ["v1beta1", "v1beta2", "v1beta1,v1beta2", "v1"], indirect=True)
def test_a_run_waits_in_its_queue_until_it_is_admitted(launcher: Launcher, cluster: Cluster, kueue: str) -> None:
    cluster.nodes.add("plain")
    missing = launcher("launch", *BARE, "--gpu", "none", "--queue", "team", "--detach")
    assert missing.code == 12 and "there is no LocalQueue team" in missing.err
    version = kueue.partition(",")[0]
    queue = {"apiVersion": f"kueue.x-k8s.io/{version}", "kind": "LocalQueue", "metadata": {"name": "team"}}
    custom = client.CustomObjectsApi(cluster.api)
    custom.create_namespaced_custom_object("kueue.x-k8s.io", version, launcher.namespace, "localqueues", queue)
    name = submit(launcher, "--gpu", "none", "--queue", "team")
    job = cluster.batch.read_namespaced_job(name, launcher.namespace)
    assert job.spec.suspend and job.metadata.labels["kueue.x-k8s.io/queue-name"] == "team"
    assert "waiting for admission by Kueue (queue team)" in launcher("status", name).err
    assert cluster.pods(launcher.namespace) == []
    admit = threading.Timer(
        1, cluster.batch.patch_namespaced_job, (name, launcher.namespace, {"spec": {"suspend": False}})
    )
    admit.start()
    launcher.end_pod(0)
    assert launcher("wait", name).code == 0


def test_a_queue_where_kueue_is_not_installed_is_told(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    said = launcher("launch", *BARE, "--gpu", "none", "--queue", "team", "--detach")
    assert said.code == 12 and "Check that Kueue is installed" in said.err and launcher.jobs() == []


@pytest.mark.usefixtures("nothing_is_rehearsed")
@pytest.mark.parametrize("kueue", ["v1beta2"], indirect=True)
def test_who_may_not_read_queues_is_let_through(
    launcher: Launcher, cluster: Cluster, tmp_path: Path, kueue: str
) -> None:
    cluster.nodes.add("plain")
    _, config = user_with(cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    listed = cluster.plane.kubectl("get", "role", "finetune-run-launcher", "-n", launcher.namespace, "-o", "json")
    groups = [rule["apiGroups"] for rule in json.loads(listed)["rules"]]
    remove = [{"op": "remove", "path": f"/rules/{groups.index(['kueue.x-k8s.io'])}"}]
    role = ["role", "finetune-run-launcher", "-n", launcher.namespace]
    cluster.plane.kubectl("patch", *role, "--type=json", "-p", json.dumps(remove))
    person = Launcher(cluster, launcher.namespace, config)
    said = person("launch", *BARE, "--gpu", "none", "--queue", "team", "--detach")
    assert said.code == 0 and len(launcher.jobs()) == 1, said.err
