"""The Hub, both ways, with the real client against a local server: pins, hashes, faults, one commit."""

import hashlib
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from job import hub as job_hub
from job.artifacts import artifact
from job.errors import CredentialsRejected, IntegrityViolated, JobError, NotFound, RemoteUnavailable
from job.hub import calls
from job.publish.hub import HubPublisher
from job.publish.place import Item
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
    one = HubPublisher("me/made", "run-1")
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


def finished(tmp_path: Path, attempt: int, weights: bytes = WEIGHTS) -> str | None:
    """An attempt to publish one file, with a report and a manifest that say when they were made."""
    one = HubPublisher("me/made", "run-1")
    one.check_write()
    contents = {"m-Q8_0.gguf": weights, "README.md": b"# card", "report.html": f"made in attempt {attempt}".encode()}
    items = []
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        kind = "q8_0" if name.endswith(".gguf") else "document"
        items.append(Item(name=name, key=f"stages/a/{name}", artifact=artifact(tmp_path, name), kind=kind))
    one.fill(items, lambda item: nullcontext(tmp_path / item.name))
    return one.finish(f'{{"finished": {attempt}}}'.encode(), 4, "m: 4 files")


def test_a_run_makes_one_commit_though_report_and_manifest_differ_in_each_attempt(hub: Hub, tmp_path: Path) -> None:
    first = finished(tmp_path, 1)
    assert [finished(tmp_path, attempt) for attempt in (2, 3)] == [first, first]
    repo = hub.repo("me/made")
    assert len(repo.history("main")) == 2
    assert hub.repos.read(repo, "report.html") == b"made in attempt 1"
    assert finished(tmp_path, 4, WEIGHTS[::-1]) != first, "other artifacts are another commit"


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
        HubPublisher(repo, "run-1").check_write()
    assert caught.value.hint


def test_a_repository_of_someone_else_that_exists_is_not_taken_for_writable(hub: Hub) -> None:
    hub.add("another/made", {"config.json": b"{}"})
    with pytest.raises(CredentialsRejected, match="forbids it"):
        HubPublisher("another/made", "run-1").check_write()


def test_a_branch_is_made_where_it_is_missing(hub: Hub, tmp_path: Path) -> None:
    one = HubPublisher("me/made", "run-1", revision="v2")
    one.check_write()
    (tmp_path / "f").write_bytes(b"x")
    one.preupload(tmp_path / "f", "f.txt")
    one.commit("m")
    repo = hub.repo("me/made")
    assert "f.txt" in repo.at("v2").files and "f.txt" not in repo.at("main").files  # type: ignore[union-attr]
