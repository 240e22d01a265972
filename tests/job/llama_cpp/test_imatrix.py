"""The importance matrix: which text it is made from, how much of it, and the user's own file."""

import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from job.errors import DataInvalid, NotFound, SpecInvalid
from job.llama_cpp import bundle, imatrix
from job.logs import Progress

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gguf") / "tiny-f16.gguf"
    converter = bundle.converter_path() / "convert_hf_to_gguf.py"
    command = [sys.executable, converter, tiny_model, "--outfile", out, "--outtype", "f16"]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"Row {n} of a text that is long enough.\n" for n in range(200)))
    return path


@pytest.fixture(scope="module")
def matrix(gguf: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imatrix.make_imatrix(gguf, text, tmp_path_factory.mktemp("matrix") / "imatrix.gguf", context=64)


def test_making_a_matrix_shows_its_progress_in_chunks_and_leaves_nothing_else(
    gguf: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress.__init__, "__kwdefaults__", {"every_s": 0.0})
    with capture_logs() as events:
        made = imatrix.make_imatrix(gguf, text, tmp_path / "imatrix.gguf", context=100)
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["unit"] == "chunks" and last["done"] == last["total"] > imatrix.FEW_CHUNKS
    assert not [event for event in events if event["event"] == "imatrix.little_text"]
    assert list(tmp_path.iterdir()) == [made]


def test_few_chunks_are_warned_about(gguf: Path, text: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n".join(text.read_text().split("\n")[:20]))
    with capture_logs() as events:
        imatrix.make_imatrix(gguf, short, tmp_path / "imatrix.gguf", context=64)
    (warning,) = [event for event in events if event["event"] == "imatrix.little_text"]
    assert warning["chunks"] < warning["wanted"] == imatrix.FEW_CHUNKS


@pytest.mark.parametrize(("said", "message"), [("short", r"\d tokens; it needs at least 1024"), ("", "no text")])
def test_too_little_text_says_how_much_is_needed(gguf: Path, tmp_path: Path, said: str, message: str) -> None:
    (tmp_path / "text.txt").write_text(said)
    with pytest.raises(DataInvalid, match=message):
        imatrix.make_imatrix(gguf, tmp_path / "text.txt", tmp_path / "imatrix.gguf", context=512)
    assert not (tmp_path / "imatrix.gguf").exists()


def test_the_users_own_matrix_is_taken_in_both_of_llama_cpps_formats(
    gguf: Path, matrix: Path, text: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old.dat"
    command = [bundle.program("llama-imatrix"), "-m", gguf, "-f", text, "-o", old, "--output-format", "dat", "-c", "64"]
    subprocess.run(command, check=True, capture_output=True)
    for own in (matrix, old):
        imatrix.copy_checked(own, tmp_path / "imatrix.gguf")
        assert (tmp_path / "imatrix.gguf").read_bytes() == own.read_bytes()
        command = [
            bundle.program("llama-quantize"),
            "--imatrix",
            tmp_path / "imatrix.gguf",
            gguf,
            tmp_path / "out.gguf",
        ]
        quantized = subprocess.run([*command, "iq4_xs"], check=True, capture_output=True, text=True)
        assert "did not find weights for blk" not in quantized.stdout + quantized.stderr


def test_what_is_no_matrix_is_refused(gguf: Path, tmp_path: Path) -> None:
    for name, content in (("text", b"a text, no matrix"), ("empty", b""), ("named", b"GGUF but imatrix in name only")):
        (tmp_path / name).write_bytes(content)
    for own in (gguf, tmp_path / "text", tmp_path / "empty", tmp_path / "named"):
        with pytest.raises(SpecInvalid, match=f"{own.name} is not an importance matrix"):
            imatrix.copy_checked(own, tmp_path / "never.gguf")
    for check in (imatrix.digest_of_file, lambda path: imatrix.copy_checked(path, tmp_path / "never.gguf")):
        with pytest.raises(NotFound, match="does not exist"):
            check(tmp_path / "missing.gguf")
