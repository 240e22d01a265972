"""What k8s/rbac.yaml gives, and people who have it."""

import json
from pathlib import Path

from ruamel.yaml import YAML

from tests import ROOT
from tests.cluster.fixtures import Cluster
from tests.cluster.pki import kubeconfig

RBAC = ROOT / "k8s" / "rbac.yaml"


def granted(kind: str) -> set[tuple[str, str]]:
    """Verb and resource of every rule of the Role or the ClusterRole."""
    roles = [one for one in YAML(typ="safe").load_all(RBAC.read_text()) if one["kind"] == kind]
    return {
        (verb, resource)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def user_with(cluster: Cluster, namespace: str, tmp_path: Path, *kinds: str) -> tuple[str, Path]:
    """A service account with these parts of k8s/rbac.yaml, and its kubeconfig."""
    cluster.core.create_namespaced_service_account(namespace, {"metadata": {"name": "person"}})
    subject = {"kind": "ServiceAccount", "name": "person", "namespace": namespace, "apiGroup": ""}
    for item in YAML(typ="safe").load_all(RBAC.read_text()):
        if item["kind"] not in kinds:
            continue
        if "namespace" in item["metadata"]:
            item["metadata"]["namespace"] = namespace
        else:
            item["metadata"]["name"] += f"-{namespace}"
        if "subjects" in item:
            item["subjects"] = [subject]
            item["roleRef"]["name"] += "" if item["kind"] == "RoleBinding" else f"-{namespace}"
        cluster.plane.kubectl("apply", "-f", "-", stdin=json.dumps(item))
    token = cluster.plane.kubectl("create", "token", "person", "-n", namespace).strip()
    path = kubeconfig(tmp_path / "person.conf", cluster.plane.server, cluster.plane.pki, {"token": token})
    return f"system:serviceaccount:{namespace}:person", path
