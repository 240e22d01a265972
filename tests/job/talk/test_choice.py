"""Which file of a folder is talked to."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from job.errors import IntegrityViolated, NotFound
from job.talk.choice import Model, model_at
from tests.job.llama_cpp.gguf_package import gguf_module

pytestmark = pytest.mark.slow  # llama.cpp's own writer comes with its build


def write(folder: Path, name: str, age: int = 0, kind: str = "model", template: str | None = None) -> Path:
    """A GGUF without tensors, `age` seconds old."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf_module().GGUFWriter(path, "llama")
    writer.add_type(kind)
    writer.add_context_length(2048)
    if template:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def chosen(place: Path) -> tuple[Model, list[str]]:
    told: list[str] = []
    return model_at(place, None, told.append), told


def test_a_file_is_itself(tmp_path: Path) -> None:
    model, told = chosen(write(tmp_path, "a.gguf", template="{{ messages }}"))
    assert model.path == tmp_path / "a.gguf" and model.has_template and model.trained_context == 2048
    assert told == []


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ({"m-Q8_0.gguf": 1, "m-Q4_K_M.gguf": 9, "old-Q4_K_M.gguf": 99}, "m-Q4_K_M.gguf"),
        ({"m-Q8_0.gguf": 9, "m-Q2_K.gguf": 1}, "m-Q2_K.gguf"),
        ({"only.gguf": 1}, "only.gguf"),
    ],
    ids=["the newest Q4_K_M", "else the newest", "the only one"],
)
def test_of_a_folder_one_is_taken_and_named(tmp_path: Path, ages: dict[str, int], expected: str) -> None:
    for name, age in ages.items():
        write(tmp_path, name, age)
    model, told = chosen(tmp_path)
    assert model.path.name == expected
    assert told == ([f"{expected} is taken, of {len(ages)} files in {tmp_path}"] if len(ages) > 1 else [])


def test_what_is_not_a_model_by_itself_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "m-Q8_0.gguf", 9)
    write(tmp_path, "adapter-Q4_K_M.gguf", 1, "adapter")
    write(tmp_path, "m.imatrix.gguf", 1, "imatrix")
    (tmp_path / ".m-Q4_K_M.gguf").write_bytes(b"GGUF")
    assert chosen(tmp_path)[0].path.name == "m-Q8_0.gguf"
    with pytest.raises(IntegrityViolated, match="is not a model, but its adapter"):
        chosen(tmp_path / "adapter-Q4_K_M.gguf")


def test_somebody_at_a_terminal_is_asked(tmp_path: Path) -> None:
    for name in ("a-Q8_0.gguf", "b-Q4_K_M.gguf"):
        write(tmp_path, name)
    asked: list[tuple[list[str], str]] = []

    def ask(files: Sequence[Path], default: Path) -> Path:
        asked.append(([path.name for path in files], default.name))
        return files[0]

    assert model_at(tmp_path, ask, print).path.name == "a-Q8_0.gguf"
    assert asked == [(["a-Q8_0.gguf", "b-Q4_K_M.gguf"], "b-Q4_K_M.gguf")]


def test_any_part_names_the_whole_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path, f"m-Q4_K_M-0000{number}-of-00003.gguf")
    for place in (tmp_path, tmp_path / "m-Q4_K_M-00003-of-00003.gguf"):
        assert chosen(place)[0].path.name == "m-Q4_K_M-00001-of-00003.gguf"
    (tmp_path / "m-Q4_K_M-00002-of-00003.gguf").unlink()
    with pytest.raises(NotFound, match=r"there is no m-Q4_K_M-00002-of-00003.gguf beside"):
        chosen(tmp_path)


def test_what_is_not_there_or_broken_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no GGUF file in"):
        chosen(tmp_path)
    with pytest.raises(NotFound, match="there is no "):
        chosen(tmp_path / "nothing")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(IntegrityViolated, match="is not a complete GGUF"):
        chosen(tmp_path)
