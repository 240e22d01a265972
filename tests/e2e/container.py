"""Starts the image as Kubernetes starts a run's container, without Kubernetes.

With docker or podman their own options do it. Where only buildah is there, runc runs what buildah mounts.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from k8s.manifest.base import BASE
from tests.e2e.images import Image

BUILDAH = ["buildah", "--storage-driver", "overlay"]
ENVIRONMENT = {one["name"]: one["value"] for one in BASE["env"] if "value" in one}


def run(
    image: Image,
    arguments: Sequence[str],
    mounts: Mapping[Path, str],
    user: str,
    *,
    program: str | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """With a read-only root, no capability, no new privileges, no network, a /tmp of its own.

    `mounts`: folder -> path; `program`: instead of the image's own.
    """
    variables = ENVIRONMENT | environment
    if image.engine != "buildah":
        flags = ["--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp"]
        flags += [f"--user={user}", *(f"--volume={source}:{target}" for source, target in mounts.items())]
        flags += [f"--env={name}={value}" for name, value in variables.items()]
        flags += [f"--entrypoint={program}"] if program else []
        return _run([image.engine, "run", "--rm", *flags, image.name, *arguments])
    with _mounted(image.name) as (root, config):
        command = [program] if program else config["Entrypoint"]
        command = [*command, *(arguments or config["Cmd"])]
        bundle = runtime_config(root, config, command, mounts, user, variables)
        (folder := Path(next(iter(mounts))).parent / f"bundle-{secrets.token_hex(3)}").mkdir()
        (folder / "config.json").write_text(json.dumps(bundle))
        return _run(["runc", "--root", f"{folder}/state", "run", "--bundle", str(folder), folder.name])


def runtime_config(
    root: str, config: Any, command: Sequence[str], mounts: Mapping[Path, str], user: str, variables: Mapping[str, str]
) -> dict[str, Any]:
    """What the kubelet asks of runc, as an OCI runtime configuration (opencontainers/runtime-spec, config.md)."""
    uid, gid = map(int, user.split(":"))
    own = dict(text.split("=", 1) for text in config["Env"])
    binds = [
        {"destination": target, "source": str(source), "type": "bind", "options": ["rbind", "rw"]}
        for source, target in mounts.items()
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": uid, "gid": gid},
            "args": list(command),
            "env": [f"{name}={value}" for name, value in (own | dict(variables)).items()],
            "cwd": config["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": root, "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            *binds,
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }


@contextmanager
def _mounted(name: str) -> Iterator[tuple[str, Any]]:
    container = _said([*BUILDAH, "from", "--pull-never", name])
    try:
        config = json.loads(_said([*BUILDAH, "inspect", container]))["Docker"]["config"]
        yield _said([*BUILDAH, "mount", container]), config
    finally:
        _said([*BUILDAH, "rm", container])


def _said(command: Sequence[str | os.PathLike[str]]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
