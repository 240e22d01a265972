"""What is published of a run, and what is kept of it in the store."""

from pathlib import Path

import pytest

from job.artifacts import artifact
from job.publish.place import Item
from job.publish.publisher import Publisher
from job.store import open_store
from tests.job.report.facts import facts, spec

pytestmark = pytest.mark.slow  # llama-quantize says what it would do to each tensor


def test_no_secret_of_the_spec_or_its_sources_is_published_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYSQL_PWD", "canary-of-a-database")
    places = {"name": "Tuned", "folder": str(tmp_path / "published")}
    given = facts(spec(dataset={"id": "./rows of canary-of-a-database.jsonl"}, publish=places))
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "file").write_bytes(b"GGUF")
    items = []
    for name, kind, _ in given.files:
        store.put_file(f"stages/quantize/k/{name}", tmp_path / "file")
        made = artifact(tmp_path, "file")
        items.append(Item(name=name, key=f"stages/quantize/k/{name}", artifact=made, kind=kind))
    sources = {"datasets": ["the state of canary-of-a-database"]}
    manifest = Publisher(given.spec, "r1").publish(store, tmp_path / "work", items, dict(given.records), sources)
    assert manifest.files and (tmp_path / "published" / "manifest.json").is_file()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if b"canary" in path.read_bytes()] == []
