"""Images as archives that containerd imports: the job's own, and the one that holds a pod's namespaces."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from tests import ROOT

PAUSE = "docker.io/local/pause:1"


class Image(NamedTuple):
    engine: str
    name: str


def built() -> Image:
    """The job's image, built if it is not there yet."""
    command = [ROOT / "scripts" / "build-image.sh"]
    name = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    cache = Path(os.environ["FINETUNE_CACHE"])
    return Image(*(cache / "image" / name.rpartition(":")[2]).read_text().split())


def save(image: Image, archive: Path) -> None:
    """Writes it as `docker save` does."""
    if image.engine == "buildah":
        command = ["buildah", "--storage-driver", "overlay", "push", "-q", image.name]
        command.append(f"docker-archive:{archive}:{image.name}")
    else:
        command = [image.engine, "save", "-o", str(archive), image.name]
    subprocess.run(command, check=True)


def save_pause(folder: Path) -> Path:
    """Compiles it without libraries, and packs it: one layer with one program."""
    program = folder / "pause"
    subprocess.run(["gcc", "-static", "-Os", "-o", program, ROOT / "tests" / "e2e" / "pause.c"], check=True)
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as inner:
        inner.add(program, "pause")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    parts = {
        "layer.tar": layer.getvalue(),
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    archive = folder / "pause.tar"
    with tarfile.open(archive, "w") as outer:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            outer.addfile(member, io.BytesIO(data))
    return archive
