"""Publishing to a folder and to S3: the owner's files stay, and nothing stale is left unnamed."""

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.artifacts import artifact
from job.errors import IntegrityViolated
from job.publish.earlier import placed_card
from job.publish.place import Item
from job.publish.stores import StorePlace
from job.report.card import BEGIN, END
from job.run.records import Manifest, PublishedFile
from job.store import Store, open_store
from tests.s3_server import Bucket

CARD = b"---\nlicense: mit\n---\n\n" + BEGIN + b"\n# The model\n" + END + b"\n"
PART = BEGIN + b"\n# The model\n" + END


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "published")
    bucket: Bucket = request.getfixturevalue("s3")
    return bucket.url


def publish(
    address: str, tmp_path: Path, names: dict[str, bytes], kind: type[StorePlace] = StorePlace, **options: Any
) -> Store:
    made = tmp_path / "made"
    made.mkdir(exist_ok=True)
    items = []
    for name, content in (names | {"README.md": CARD}).items():
        (made / name).write_bytes(content)
        items.append(Item(name=name, key=f"stages/a/{name}", artifact=artifact(made, name), kind="q8_0"))
    files = [PublishedFile(name=i.name, key=i.key, type="", **i.artifact.model_dump(exclude={"path"})) for i in items]
    place = kind(address, **options)
    place.check_write()
    place.fill(items[:-1], lambda item: nullcontext(made / item.name))
    place.finish(Manifest(run="r", name="m", spec={}, sources={}, stages={}, files=files, places=[]), CARD, "m")
    return open_store(address)


def content(store: Store, name: str) -> bytes:
    found = store.get(name)
    assert found, name
    return found[0]


def test_a_manifest_has_the_hash_of_the_card_as_it_is_there(address: str, tmp_path: Path) -> None:
    open_store(address).put("README.md", b"# Mine\n")
    store = publish(address, tmp_path, {"a.gguf": b"a"})
    card = content(store, "README.md")
    assert card == b"# Mine\n\n" + PART + b"\n"
    (told,) = [file for file in json.loads(content(store, "manifest.json"))["files"] if file["name"] == "README.md"]
    assert (told["sha256"], told["size"]) == (hashlib.sha256(card).hexdigest(), len(card))


def test_what_an_earlier_run_made_is_named_and_goes_only_if_asked_and_unchanged(address: str, tmp_path: Path) -> None:
    publish(address, tmp_path, {"a.gguf": b"a", "b.gguf": b"b", "c.gguf": b"c"})
    with capture_logs() as logged:
        store = publish(address, tmp_path, {"a.gguf": b"A"})
    (told,) = [one for one in logged if one["event"] == "publish.earlier_files"]
    assert told["files"] == ["b.gguf", "c.gguf"] and "publish.replace: true" in told["what"]
    assert b"## Files of earlier runs" in content(store, "README.md")
    store.put("notes.txt", b"mine")
    store.put("c.gguf", b"?")
    publish(address, tmp_path, {"d.gguf": b"d"}, replace=True)
    assert set(store.list()) == {"README.md", "c.gguf", "d.gguf", "manifest.json", "notes.txt"}
    assert [one["name"] for one in json.loads(content(store, "manifest.json"))["earlier"]] == ["c.gguf"]


def test_of_two_runs_that_publish_to_one_place_at_once_none_claims_the_others_files(
    address: str, tmp_path: Path
) -> None:
    class Slow(StorePlace):
        def finish(self, manifest: Manifest, card: bytes, title: str) -> str | None:
            publish(address, tmp_path, {"a.gguf": b"of the other run"})
            return super().finish(manifest, card, title)

    with pytest.raises(IntegrityViolated, match=r"a\.gguf changed while this run published there"):
        publish(address, tmp_path, {"a.gguf": b"a", "b.gguf": b"b"}, kind=Slow)
    store = open_store(address)
    for file in json.loads(content(store, "manifest.json"))["files"]:
        assert hashlib.sha256(content(store, file["name"])).hexdigest() == file["sha256"]
    publish(address, tmp_path, {"a.gguf": b"a", "b.gguf": b"b"})
    assert content(store, "a.gguf") == b"a"


def test_a_manifest_json_of_somebody_else_lists_nothing(address: str, tmp_path: Path) -> None:
    store = open_store(address)
    store.put("manifest.json", b'{"files": [{"name": "../../etc/passwd", "sha256": "", "size": 1}]}')
    store.put("b.gguf", b"b")
    publish(address, tmp_path, {"a.gguf": b"a"}, replace=True)
    assert content(store, "b.gguf") == b"b"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (None, CARD),
        (b" \n", CARD),
        (b"# Mine", b"# Mine\n\n" + PART + b"\n"),
        (b"\xff\r\n", b"\xff\r\n".rstrip(b"\n") + b"\n\n" + PART + b"\n"),
        (b"above\n" + BEGIN + b"\nold\n" + END + b"\nbelow", b"above\n" + PART + b"\nbelow"),
        (BEGIN + b" without an end\nmine", BEGIN + b" without an end\nmine\n\n" + PART + b"\n"),
        (BEGIN + b" mine\n\n" + BEGIN + b"\nold\n" + END, BEGIN + b" mine\n\n" + PART),
    ],
    ids=["none", "empty", "the owner's", "bytes", "with our part", "a broken part", "a broken part and ours"],
)
def test_only_our_part_of_a_readme_changes(there: bytes | None, expected: bytes) -> None:
    assert placed_card(CARD, there, None, []) == expected


def test_a_card_that_nobody_has_changed_is_written_whole() -> None:
    old = b"---\nlicense: apache-2.0\n---\n# An older release wrote no marks\n"
    told = PublishedFile(name="README.md", key="k", type="", sha256=hashlib.sha256(old).hexdigest(), size=len(old))
    assert placed_card(CARD, old, told, []) == CARD
    assert placed_card(CARD, old + b"x", told, []).startswith(old + b"x\n\n" + BEGIN)


def test_a_manifest_never_names_a_file_that_was_replaced(address: str, tmp_path: Path) -> None:
    """Each moment at which a second run may be killed is the reading of one of its files."""
    store = publish(address, tmp_path, {"a.gguf": b"a", "b.gguf": b"b", "same.gguf": b"same"})
    seen = []

    class Watched(StorePlace):
        def fill(self, items: list[Item], on_disk: Any) -> None:
            def look(item: Item) -> Any:
                named = json.loads(content(store, "manifest.json"))["files"]
                seen.append({file["name"] for file in named})
                for file in named:
                    assert hashlib.sha256(content(store, file["name"])).hexdigest() == file["sha256"]
                return on_disk(item)

            super().fill([*items, items[-1]], look)

    place = Watched(address)
    made = tmp_path / "made"
    for name in ("a.gguf", "b.gguf"):
        (made / name).write_bytes(b"other " + name.encode())
    names = ("a.gguf", "b.gguf", "same.gguf")
    place.fill(
        [Item(name=name, key=name, artifact=artifact(made, name), kind="q8_0") for name in names],
        lambda item: nullcontext(made / item.name),
    )
    assert seen == [{"same.gguf", "README.md"}] * 4
