"""What publishing relies on inside huggingface_hub: the fields of an upload, before, between and after."""

import hashlib
from pathlib import Path

import pytest

from job.publish.hub import HubPublisher, _operation
from job.spec import sections
from tests.hub_server import Hub

SIZES = {"empty": 0, "small": 100, "in a file": 3_000_000}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "mode"), [("m.gguf", "lfs"), ("tokenizer.json", "regular")])
def test_an_upload_knows_its_mode_its_size_and_its_hash_when_the_file_is_gone(
    hub: Hub, tmp_path: Path, size: str, name: str, mode: str
) -> None:
    content = bytes(n % 251 for n in range(SIZES[size]))
    (tmp_path / name).write_bytes(content)
    one = HubPublisher(sections.Hub(repo_id="me/made"), "run-1")
    one.check_write()
    assert _operation(tmp_path / name, name)._upload_mode is None, "only the Hub knows"
    one.preupload(tmp_path / name, name)
    (tmp_path / name).unlink()
    sent = one._operations[name]
    assert sent._upload_mode == (mode if content else "regular"), "what is empty is never in LFS"
    assert (sent.upload_info.size, sent.upload_info.sha256) == (len(content), hashlib.sha256(content).digest())
    assert sent.path_or_fileobj == (b"" if sent._upload_mode == "lfs" else content)
    one.commit("m: 1 file")
    assert hub.repos.read(hub.repo("me/made"), name) == content


def test_an_upload_tells_its_progress_where_the_client_asks_for_it(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 3_000_000)
    with _operation(path, "m.gguf").as_file(with_tqdm=True) as file:
        assert len(file.read(1_000)) == 1_000 and file.tell() == 1_000
