"""A repository on the Hub over attempts and runs: one commit each, nothing private in public, the owner's text kept."""

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.artifacts import artifact
from job.errors import SpecInvalid
from job.publish.hub import HubPublisher
from job.publish.place import Item
from job.report.card import BEGIN, END
from job.run.records import Manifest, PublishedFile
from job.spec import sections
from tests.hub_server import Hub

WEIGHTS = bytes(range(256)) * 2000


def manifest_of(items: list[Item], run: str = "run-1", **more: Any) -> Manifest:
    files = [
        PublishedFile(name=i.name, key=i.key, type=i.kind, **i.artifact.model_dump(exclude={"path"})) for i in items
    ]
    return Manifest(run=run, name="m", spec={}, sources={}, stages={}, files=files, places=[], **more)


def card_of(body: str) -> bytes:
    return b"---\nlicense: mit\n---\n\n" + BEGIN + f"\n# {body}\n".encode() + END + b"\n"


def finished(
    tmp_path: Path,
    attempt: int,
    weights: bytes = WEIGHTS,
    name: str = "m-Q8_0.gguf",
    run: str = "run-1",
    **options: Any,
) -> str | None:
    """An attempt to publish one file, with a report and a manifest that say when they were made."""
    one = HubPublisher(sections.Hub(repo_id="me/made", **options.pop("hub", {})), run, **options)
    one.check_write()
    contents = {name: weights, "README.md": card_of("card"), "report.html": f"made in attempt {attempt}".encode()}
    items = []
    for file, data in contents.items():
        (tmp_path / file).write_bytes(data)
        kind = "q8_0" if file.endswith(".gguf") else "document"
        items.append(Item(name=file, key=f"stages/a/{file}", artifact=artifact(tmp_path, file), kind=kind))
    one.fill([item for item in items if item.name != "README.md"], lambda item: nullcontext(tmp_path / item.name))
    return one.finish(manifest_of(items, run, finished=str(attempt)), contents["README.md"], "m: 4 files")


def test_a_run_makes_one_commit_though_report_and_manifest_differ_in_each_attempt(hub: Hub, tmp_path: Path) -> None:
    first = finished(tmp_path, 1)
    assert [finished(tmp_path, attempt) for attempt in (2, 3)] == [first, first]
    repo = hub.repo("me/made")
    assert len(repo.history("main")) == 2
    assert hub.repos.read(repo, "report.html") == b"made in attempt 1"
    assert finished(tmp_path, 4, WEIGHTS[::-1]) != first, "other artifacts are another commit"


def test_a_public_repository_gets_nothing_private_unless_that_is_allowed(hub: Hub, tmp_path: Path) -> None:
    hub.add("me/made", {"notes.txt": b"mine"})
    with pytest.raises(SpecInvalid, match="me/made is a public repository") as caught:
        finished(tmp_path, 1)
    assert "publish.hub.public_ok: true" in caught.value.hint
    assert len(hub.repo("me/made").history("main")) == 2 and not hub.asked("PUT /lfs-store")
    assert finished(tmp_path, 1, hub={"public_ok": True})
    assert finished(tmp_path, 2, WEIGHTS[::-1], hub={"private": False})


def test_a_repository_that_became_public_meanwhile_gets_nothing_either(hub: Hub, tmp_path: Path) -> None:
    one = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
    one.check_write()
    hub.repo("me/made").private = False
    with pytest.raises(SpecInvalid, match="is a public repository"):
        one.fill([], lambda _: nullcontext(tmp_path))


def test_the_owners_readme_is_kept_and_only_our_part_of_it_changes(hub: Hub, tmp_path: Path) -> None:
    hub.add("me/made", {"README.md": b"---\nlicense: gpl\n---\n# Mine\n"}, private=True)
    repo = hub.repo("me/made")
    finished(tmp_path, 1)
    first = hub.repos.read(repo, "README.md")
    assert first == b"---\nlicense: gpl\n---\n# Mine\n\n" + BEGIN + b"\n# card\n" + END + b"\n"
    there = json.loads(hub.repos.read(repo, "manifest.json"))
    (told,) = [file for file in there["files"] if file["name"] == "README.md"]
    assert told["sha256"] == hashlib.sha256(first).hexdigest() and told["size"] == len(first)
    hub.add("me/made", {"README.md": first + b"\nAnd more of mine.\n"})
    finished(tmp_path, 2, WEIGHTS[::-1])
    assert hub.repos.read(repo, "README.md") == first + b"\nAnd more of mine.\n"


def test_files_of_an_earlier_run_are_named_in_event_and_card_until_they_are_replaced(hub: Hub, tmp_path: Path) -> None:
    finished(tmp_path, 1, name="old-Q8_0.gguf")
    finished(tmp_path, 1, WEIGHTS[1:], name="older-Q8_0.gguf", run="run-2")
    repo = hub.repo("me/made")
    with capture_logs() as logged:
        finished(tmp_path, 1, WEIGHTS[2:], name="new-Q8_0.gguf", run="run-3")
    (told,) = [one for one in logged if one["event"] == "publish.earlier_files"]
    assert told["log_level"] == "warning" and told["files"] == ["old-Q8_0.gguf", "older-Q8_0.gguf"]
    assert b"- old-Q8_0.gguf\n- older-Q8_0.gguf\n" in hub.repos.read(repo, "README.md")

    hub.add("me/made", {"older-Q8_0.gguf": WEIGHTS[3:] + b"??", "notes.txt": b"mine"})
    before = len(repo.history("main"))
    with capture_logs() as logged:
        commit = finished(tmp_path, 1, WEIGHTS[4:], name="new-Q8_0.gguf", run="run-4", replace=True)
    files = repo.commits[str(commit)].files
    assert len(repo.history("main")) == before + 1, "deleted in the commit that publishes"
    assert "old-Q8_0.gguf" not in files and {"new-Q8_0.gguf", "notes.txt", "older-Q8_0.gguf"} <= set(files)
    assert [one["files"] for one in logged if one["event"] == "publish.replaced"] == [["old-Q8_0.gguf"]]
    assert [one["files"] for one in logged if one["event"] == "publish.earlier_files"] == [["older-Q8_0.gguf"]]
