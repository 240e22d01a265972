"""Uploads to the Hub, with the real client against a local server: access, hashes, faults, one commit."""

from pathlib import Path

import pytest

from job.errors import CredentialsRejected, IntegrityViolated
from job.publish.hub import HubPublisher
from job.spec import sections
from tests.hub_server import Hub

pytestmark = pytest.mark.usefixtures("impatient_hub")
WEIGHTS = bytes(range(256)) * 2000
FILES = {"m-Q4_K_M.gguf": WEIGHTS, "m-Q8_0.gguf": WEIGHTS[::-1], "README.md": b"# card", "m-lora/a.json": b"{}"}


def publisher(tmp_path: Path, files: dict[str, bytes]) -> HubPublisher:
    one = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
    one.check_write()
    for name, data in files.items():
        path = tmp_path / Path(name).name
        path.write_bytes(data)
        one.preupload(path, name)
        path.unlink()
    return one


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
