"""The reporter: it tells the forge what became of each commit's runs, and cannot send any."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cluster.fixtures import Cluster
from tests.cluster.pki import kubeconfig
from tests.k8s.chart.charts import ROOT
from tests.push.pushes import SPEC, Pushed

pytestmark = pytest.mark.slow


@pytest.fixture
def forge() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The address of GitHub's statuses, and what was told there."""
    told: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            good = self.headers["Authorization"] == "Bearer token-of-the-job"
            if good:
                told.append((self.path, body))
            self.send_response(201 if good else 401)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    server.server_close()


def test_the_reporter_tells_every_commit_each_change_once(
    pushed: Pushed, cluster: Cluster, forge: tuple[str, list[tuple[str, Any]]]
) -> None:
    address, told = forge
    token = {"GITHUB_TOKEN": "token-of-the-job", "GITHUB_API_URL": address}
    pushed.repo.write("runs/a.yaml", SPEC)
    commit = pushed.repo.commit()
    assert pushed.push(pushed.repo.start, **token).code == 0
    path = f"/repos/team/models/statuses/{commit}"
    assert [(where, body["state"], body["context"]) for where, body in told] == [
        (path, "pending", "finetune-run/runs/a.yaml")
    ]
    name = pushed.job()["metadata"]["name"]
    pushed.launcher.end_pod(0)
    cluster.condition(pushed.launcher.namespace, name, "Complete")
    told.clear()
    for _ in range(2):
        said = pushed.command("report", **token)
        assert said.code == 0 and name in said.out, said.err
    assert [(where, body["state"], body["target_url"]) for where, body in told] == [
        (path, "success", "https://github.example/team/models/actions/runs/7")
    ]


def test_the_reporter_leaves_the_runs_of_other_repositories_alone(
    pushed: Pushed, forge: tuple[str, list[tuple[str, Any]]]
) -> None:
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    assert pushed.push(pushed.repo.start).code == 0
    address, told = forge
    said = pushed.command(
        "report", GITHUB_TOKEN="token-of-the-job", GITHUB_API_URL=address, GITHUB_REPOSITORY="team/other"
    )
    assert said.code == 0 and told == []
    refused = pushed.command("report", GITHUB_TOKEN="wrong-token-here", GITHUB_API_URL=address)
    assert refused.code == 11 and "answers 401" in refused.err and "wrong-token-here" not in refused.err


def test_each_identity_has_what_it_needs_and_the_reporters_cannot_send(
    pushed: Pushed, cluster: Cluster, tmp_path: Path, forge: tuple[str, list[tuple[str, Any]]]
) -> None:
    address, told = forge
    token = {"GITHUB_TOKEN": "token-of-the-job", "GITHUB_API_URL": address}
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    reporter = {"KUBECONFIG": str(user_of(cluster, pushed, tmp_path, "examples/push/reporter.yaml"))}
    trainer = {"KUBECONFIG": str(user_of(cluster, pushed, tmp_path, "k8s/rbac.yaml"))}
    refused = pushed.push(pushed.repo.start, **reporter)
    assert refused.code == 11 and pushed.launcher.jobs() == []
    for _ in range(2):  # sent, and joined
        said = pushed.push(pushed.repo.start, **trainer)
        assert said.code == 0, said.err
    said = pushed.command("report", **reporter, **token)
    assert said.code == 0 and len(told) == 1, said.err


def user_of(cluster: Cluster, pushed: Pushed, folder: Path, rules: str) -> Path:
    """A service account with the Role of a file, and its kubeconfig."""
    name, namespace = Path(rules).stem, pushed.launcher.namespace
    cluster.core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    for item in YAML(typ="safe").load_all((ROOT / rules).read_text()):
        if item["kind"] in ("Role", "RoleBinding"):
            item["metadata"]["namespace"] = namespace
            if item["kind"] == "RoleBinding":
                item["subjects"] = [{"kind": "ServiceAccount", "name": name, "namespace": namespace, "apiGroup": ""}]
            cluster.plane.kubectl("apply", "-f", "-", stdin=json.dumps(item))
    token = cluster.plane.kubectl("create", "token", name, "-n", namespace).strip()
    return kubeconfig(folder / f"{name}.conf", cluster.plane.server, cluster.plane.pki, {"token": token})
