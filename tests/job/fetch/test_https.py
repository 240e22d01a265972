"""Rows from an address: redirects, busy servers, cut or silent ones, and no way off https."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from job.errors import DataInvalid, JobError, NotFound, RemoteUnavailable
from job.fetch import https, sources
from tests.job.fetch.fetches import JSONL, fetched, rows_of, spec_of


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    """A web server on loopback with a folder of files; `answers` holds statuses to give first."""
    folder = tmp_path / "site"
    folder.mkdir()
    answers: list[int] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_GET(self) -> None:
            if answers:
                return self.send_error(answers.pop(0))
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved") or "/")
                return self.end_headers()
            if self.path.startswith("/nowhere"):
                self.send_response(302)
                self.send_header("Location", "https://[::1")
                return self.end_headers()
            if self.path.startswith(("/cut/", "/odd/", "/negative/")):
                length = {"/cut": 10 * len(JSONL), "/odd": "many", "/negative": -1}["/" + self.path.split("/")[1]]
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(JSONL)
                return None
            return super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", folder=folder, answers=answers)
    server.shutdown()
    server.server_close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "FIRST_WAIT_S", 0.01)


def test_rows_come_from_an_address_through_redirects_and_a_busy_server(
    site: Any, local_model: Path, tmp_path: Path, impatient: None
) -> None:
    (site.folder / "quotes.jsonl").write_bytes(JSONL)
    site.answers += [503, 429]
    result = fetched(spec_of(str(local_model), f"{site.url}/moved/quotes.jsonl"), tmp_path / "work")
    assert rows_of(result) == 40


@pytest.mark.parametrize(
    ("path", "answers", "error", "said"),
    [
        ("/nothing.jsonl", [], NotFound, "answers 404"),
        ("/private.jsonl", [403], JobError, "answers 403"),
        ("/moved" * 7 + "/quotes.jsonl", [], DataInvalid, "redirects in a loop"),
        ("/quotes.jsonl", [500] * 9, RemoteUnavailable, "status 500"),
        ("/cut/quotes.jsonl", [], RemoteUnavailable, "cannot download"),
        ("/nowhere.jsonl", [], DataInvalid, "not an address"),
    ],
)
def test_an_address_that_gives_no_whole_file_is_named_without_its_query(
    site: Any, tmp_path: Path, impatient: None, path: str, answers: list[int], error: type[JobError], said: str
) -> None:
    (site.folder / "quotes.jsonl").write_bytes(JSONL)
    site.answers += answers
    with pytest.raises(error, match=said) as caught:
        https.download(f"{site.url}{path}?signature=canary", tmp_path / "file")
    assert "canary" not in str(caught.value)
    assert not list(tmp_path.glob("*file*"))


@pytest.mark.parametrize("lie", ["odd", "negative"])
def test_a_length_that_is_not_one_is_not_believed(site: Any, tmp_path: Path, impatient: None, lie: str) -> None:
    https.download(f"{site.url}/{lie}/quotes.jsonl", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == JSONL


def test_a_server_that_says_nothing_is_not_waited_for(
    silent: str, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert https.TIMEOUT.connect_timeout == 20 and https.TIMEOUT.read_timeout == 60
    monkeypatch.setattr(https, "TIMEOUT", urllib3.Timeout(0.2))
    with pytest.raises(RemoteUnavailable, match="cannot download"):
        https.download(f"{silent}/rows.jsonl", tmp_path / "rows.jsonl")


def test_a_redirect_away_from_https_is_refused() -> None:
    assert https._followed("https://example.org/a", "https://cdn.example.org/b") == "https://cdn.example.org/b"
    with pytest.raises(DataInvalid, match="redirects away from https"):
        https._followed("https://example.org/a", "http://example.org/a")


def test_other_content_at_an_address_is_another_source(site: Any, local_model: Path, impatient: None) -> None:
    def pinned(path: str) -> str:
        return sources.resolve(spec_of(str(local_model), f"{site.url}{path}")).datasets[0]

    (site.folder / "rows.jsonl").write_bytes(JSONL)
    site.answers += [503]
    before = pinned("/rows.jsonl")
    assert pinned("/rows.jsonl") == before != pinned("/rows.jsonl?version=2")
    (site.folder / "rows.jsonl").write_bytes(JSONL + JSONL)
    assert pinned("/rows.jsonl") != before
    assert pinned("/odd/rows.jsonl") != pinned("/odd/rows.jsonl"), "a server that says nothing of its content"


def test_an_address_without_a_file_is_refused_before_anything_is_fetched(site: Any, local_model: Path) -> None:
    with pytest.raises(NotFound, match="answers 404"):
        sources.resolve(spec_of(str(local_model), f"{site.url}/nothing.jsonl"))
