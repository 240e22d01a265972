"""The Hub, both ways, with the real client against a local server: pins, hashes, faults, one commit."""

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from job import hub as job_hub
from job.artifacts import artifact
from job.errors import CredentialsRejected, IntegrityViolated, JobError, NotFound, RemoteUnavailable, SpecInvalid
from job.hub import calls
from job.publish.hub import HubPublisher
from job.publish.place import Item
from job.report.card import BEGIN, END
from job.run.records import Manifest, PublishedFile
from job.spec import sections
from tests.hub_server import Hub

REPO = "someone/model"
WEIGHTS = bytes(range(256)) * 2000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.02)


def brought(folder: Path, commit: str | None = None) -> dict[str, str]:
    pin = commit or job_hub.commit_of(REPO)
    return job_hub.download(REPO, pin, job_hub.list_files(REPO, pin), folder)


def test_a_pinned_commit_stays_what_it_was_while_main_moves_on(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS, "config.json": b'{"a": 1}'})
    pin = job_hub.commit_of(REPO)
    hub.add(REPO, {"config.json": b'{"a": 2}', "new.json": b"{}"})
    assert job_hub.commit_of(REPO) != pin
    hashes = brought(tmp_path / "model", pin)
    assert (tmp_path / "model/config.json").read_bytes() == b'{"a": 1}'
    assert not (tmp_path / "model/new.json").exists()
    assert hashes["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_listing_of_many_pages_is_read_to_its_end(hub: Hub) -> None:
    hub.page_size = 7
    hub.add(REPO, {f"file-{n:02}.json": b"{}" for n in range(30)})
    assert len(job_hub.list_files(REPO, job_hub.commit_of(REPO))) == 31


def test_the_token_never_reaches_the_servers_that_the_hub_redirects_to(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    brought(tmp_path / "model")
    assert hub.asked("GET /cdn/") and not hub.leaks


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    hub.fail("/resolve/|/tree/", times=2, status=status, headers={"Retry-After": "0"})
    assert brought(tmp_path / "model")


def test_a_hub_that_stays_busy_is_unavailable_and_says_so(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    hub.fail("/tree/", times=99, status=503, message="maintenance")
    with pytest.raises(RemoteUnavailable, match="maintenance"):
        brought(tmp_path / "model")


def test_a_hub_that_asks_for_hours_of_patience_is_unavailable(hub: Hub) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    hub.fail("/revision/", times=1, status=429, headers={"Retry-After": "7200"})
    with pytest.raises(RemoteUnavailable, match="too many requests"):
        job_hub.commit_of(REPO)


def test_a_download_that_is_cut_off_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    hub.fail("/cdn/", times=1, cut_at=100_000)
    brought(tmp_path / "model")
    assert (tmp_path / "model/model.safetensors").read_bytes() == WEIGHTS
    assert sum(one.sent for one in hub.asked("GET /cdn/")) < 2 * len(WEIGHTS)


def test_damaged_bytes_are_fetched_again_and_given_up_the_second_time(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS, "config.json": b'{"a": 1}'})
    hub.fail("/cdn/", times=1, corrupt=True)
    brought(tmp_path / "first")
    assert (tmp_path / "first/model.safetensors").read_bytes() == WEIGHTS
    hub.fail("GET /cdn/", times=2, corrupt=True)
    with pytest.raises(IntegrityViolated, match=r"model\.safetensors .* does not match its hash, twice"):
        brought(tmp_path / "second")
    assert not (tmp_path / "second/model.safetensors").exists()


def test_a_small_file_is_verified_by_gits_hash(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, {"config.json": b'{"a": 1}'})
    hub.fail("GET .*/resolve/.*config.json", times=2, corrupt=True)
    with pytest.raises(IntegrityViolated, match=r"config\.json"):
        brought(tmp_path / "model")


@pytest.mark.parametrize(
    ("case", "error", "said", "next_step"),
    [
        ("gated", CredentialsRejected, "it is gated", "accept the licence"),
        ("wrong token", CredentialsRejected, "does not accept the token", "expired"),
        ("private", NotFound, "it is private", "HF_TOKEN"),
        ("missing", NotFound, "it does not exist", "in a browser"),
        ("no revision", NotFound, "no such branch, tag or commit", "tree/main"),
        ("disabled", CredentialsRejected, "forbids it", "right to do it"),
        ("no server", RemoteUnavailable, "cannot be reached", "egress"),
    ],
)
def test_what_cannot_be_read_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, case: str, error: type[JobError], said: str, next_step: str
) -> None:
    hub.add(REPO, {"config.json": b"{}"}, gated=case == "gated", private=case == "private")
    name, revision = REPO, "main"
    if case == "wrong token":
        monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    elif case == "missing":
        name = "someone/else"
    elif case == "no revision":
        revision = "v2"
    elif case == "disabled":
        hub.fail("/api/", times=9, status=403)
    elif case == "no server":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(error, match=said) as caught:
        job_hub.commit_of(name, revision)
        job_hub.may_read(name)
    assert next_step in caught.value.hint
    assert "hf_" not in str(caught.value).replace("hf_home", "")


def test_a_gated_model_whose_licence_was_accepted_is_read(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, {"config.json": b"{}"}, gated=True)
    monkeypatch.setenv("HF_TOKEN", hub.token("hf_other", "other", accepted=[REPO]))
    job_hub.may_read(REPO)


def publisher(tmp_path: Path, files: dict[str, bytes]) -> HubPublisher:
    one = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
    one.check_write()
    for name, data in files.items():
        path = tmp_path / Path(name).name
        path.write_bytes(data)
        one.preupload(path, name)
        path.unlink()
    return one


FILES = {"m-Q4_K_M.gguf": WEIGHTS, "m-Q8_0.gguf": WEIGHTS[::-1], "README.md": b"# card", "m-lora/a.json": b"{}"}


def test_files_are_uploaded_ahead_and_appear_in_one_commit(hub: Hub, tmp_path: Path) -> None:
    one = publisher(tmp_path, FILES)
    repo = hub.repo("me/made")
    assert repo.private and len(repo.history("main")) == 1, "nothing shows before the commit"
    commit = one.commit("m: 4 files")
    assert repo.history("main")[0].id == commit and len(repo.history("main")) == 2
    assert {name: hub.repos.read(repo, name) for name in FILES} == FILES


def test_a_second_attempt_sends_no_bytes_again_and_makes_no_second_commit(hub: Hub, tmp_path: Path) -> None:
    first = publisher(tmp_path, FILES).commit("m")
    sent = len(hub.asked("PUT /lfs-store"))
    assert publisher(tmp_path, FILES).commit("m") == first
    assert len(hub.asked("PUT /lfs-store")) == sent == 2
    assert len(hub.repo("me/made").history("main")) == 2


def test_a_commit_whose_reply_was_lost_is_found_and_not_made_twice(hub: Hub, tmp_path: Path) -> None:
    one = publisher(tmp_path, FILES)
    hub.fail("POST .*/commit/", times=1, status=500, after=True)
    commit = one.commit("m")
    history = hub.repo("me/made").history("main")
    assert len(history) == 2 and history[0].id == commit


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


def test_a_commit_of_someone_else_in_between_is_built_upon(hub: Hub, tmp_path: Path) -> None:
    one = publisher(tmp_path, FILES)
    hub.fail("POST .*/commit/", times=1, status=412, message="A commit has happened since.")
    hub.add("me/made", {"notes.txt": b"mine"})
    one.commit("m")
    assert hub.repos.read(hub.repo("me/made"), "notes.txt") == b"mine"


def test_an_upload_that_fails_in_between_is_sent_again(hub: Hub, tmp_path: Path) -> None:
    hub.fail("PUT /lfs-store", times=2, status=503)
    one = publisher(tmp_path, FILES)
    one.commit("m")
    assert hub.repos.read(hub.repo("me/made"), "m-Q8_0.gguf") == FILES["m-Q8_0.gguf"]


def test_a_large_file_goes_in_parts(hub: Hub, tmp_path: Path) -> None:
    hub.multipart_above, hub.part_size = 100_000, 200_000
    publisher(tmp_path, FILES).commit("m")
    assert len(hub.asked("PUT /lfs-store/.*/[0-9]+")) == 6
    assert hub.repos.read(hub.repo("me/made"), "m-Q8_0.gguf") == FILES["m-Q8_0.gguf"]


def test_an_upload_that_arrives_damaged_never_becomes_a_published_file(hub: Hub, tmp_path: Path) -> None:
    one = publisher(tmp_path, FILES)
    commit_entry = hub.repos.entry

    def damaged(path: str, data: bytes, *, lfs: bool | None = None) -> object:
        return commit_entry(path, data[:-1] + b"?" if path == "m-Q8_0.gguf" else data, lfs=lfs)

    hub.repos.entry = damaged  # type: ignore[assignment, method-assign]
    with pytest.raises(IntegrityViolated, match=r"m-Q8_0\.gguf differs from what was sent"):
        one.commit("m")


@pytest.mark.parametrize(
    ("token", "repo", "said"),
    [
        (None, "me/made", "there is no token"),
        ("read", "me/made", "can only read"),
        ("write", "another/made", "forbids it"),
    ],
)
def test_write_access_is_tried_before_anything_is_made(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str | None, repo: str, said: str
) -> None:
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    elif token == "read":
        monkeypatch.setenv("HF_TOKEN", hub.token("hf_reader", "me", "read"))
    with pytest.raises(CredentialsRejected, match=said) as caught:
        HubPublisher(sections.Hub(repo_id=repo), "run-1").check_write()
    assert caught.value.hint


def test_a_repository_of_someone_else_that_exists_is_not_taken_for_writable(hub: Hub) -> None:
    hub.add("another/made", {"config.json": b"{}"})
    with pytest.raises(CredentialsRejected, match="forbids it"):
        HubPublisher(sections.Hub(repo_id="another/made"), "run-1").check_write()


def test_a_branch_is_made_where_it_is_missing(hub: Hub, tmp_path: Path) -> None:
    one = HubPublisher(sections.Hub(repo_id="me/made", revision="v2"), "run-1")
    one.check_write()
    (tmp_path / "f").write_bytes(b"x")
    one.preupload(tmp_path / "f", "f.txt")
    one.commit("m")
    repo = hub.repo("me/made")
    assert "f.txt" in repo.at("v2").files and "f.txt" not in repo.at("main").files  # type: ignore[union-attr]
