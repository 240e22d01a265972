"""Downloads from the Hub, with the real client against a local server: pins, hashes, faults, licences."""

import hashlib
from pathlib import Path

import pytest

from job import hub as job_hub
from job.errors import CredentialsRejected, IntegrityViolated, JobError, NotFound, RemoteUnavailable
from tests.hub_server import Hub

pytestmark = pytest.mark.usefixtures("impatient_hub")
REPO = "someone/model"
WEIGHTS = bytes(range(256)) * 2000


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
