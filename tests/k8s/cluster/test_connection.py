"""A kubeconfig that cannot be used is one sentence, and never a bug or a call as nobody."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.cluster.client import Cluster
from k8s.errors import AccessDenied, ClusterUnreachable


def kubeconfig(user: dict[str, Any], **cluster: str) -> str:
    return yaml.safe_dump(
        {
            "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:9"} | cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
            "current-context": "c",
        }
    )


def login(*command: str) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": command[0], "args": [*command[1:]], "interactiveMode": "Never"}}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def opened(text: str) -> Cluster:
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        return Cluster()

    return opened


@pytest.mark.parametrize(
    "text",
    [
        "a: [b",
        "- a",
        "\x01",
        kubeconfig({"auth-provider": {"name": "gcp", "config": {}}}),
        kubeconfig({}, **{"proxy-url": "socks5://127.0.0.1:1"}),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_not_a_bug(opened: Any, text: str) -> None:
    with pytest.raises(ClusterUnreachable, match="the kubeconfig cannot be used"):
        opened(text)


@pytest.mark.parametrize("command", [("no-such-program",), ("false",), ("echo", "hi"), ("echo", "{}")])
def test_a_login_that_fails_is_told_and_no_call_is_made_as_nobody(
    opened: Any, command: tuple[str, ...], capfd: Any
) -> None:
    with pytest.raises(AccessDenied, match="the login of the kubeconfig fails"):
        opened(kubeconfig(login(*command)))
    assert capfd.readouterr().err == ""


def test_a_login_that_works_is_used(opened: Any) -> None:
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "abc"}}'
    assert opened(kubeconfig(login("echo", answer))).namespace == "team"
