"""The reader of GGUF headers says what llama.cpp's own Python reader says."""

import random
import string
from pathlib import Path
from typing import Any

import numpy
import pytest

from job.errors import IntegrityViolated
from job.llama_cpp.gguf import read_metadata
from tests.export_reference import converted
from tests.job.llama_cpp.gguf_package import gguf_module

WORDS = ["", "a", "naïve café", "你好 🙂", "\x00\n\t", "x" * 5000]


def by_llama_cpp(path: Path) -> dict[str, Any]:
    """All pairs, without the three of the header that the reader shows as fields."""
    fields = gguf_module().GGUFReader(path).fields
    return {name: field.contents() for name, field in fields.items() if not name.startswith("GGUF.")}


def written(path: Path, pairs: dict[str, tuple[str, Any]], tensors: int = 1) -> Path:
    """A file with these pairs (the type's name as in GGUFValueType, and the value) and some tensors."""
    gguf = gguf_module()
    writer = gguf.GGUFWriter(path, "llama")
    for name, (kind, value) in pairs.items():
        writer.add_key_value(name, value, gguf.GGUFValueType[kind])
    for number in range(tensors):
        writer.add_tensor(f"t{number}", numpy.ones((4, 32), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_kind_of_value_is_read_as_it_is_by_llama_cpp(tmp_path: Path) -> None:
    scalars: dict[str, tuple[str, Any]] = {
        "UINT8": ("UINT8", 255), "INT8": ("INT8", -128), "UINT16": ("UINT16", 65_535), "INT16": ("INT16", -32_768),
        "UINT32": ("UINT32", 2**32 - 1), "INT32": ("INT32", -(2**31)), "UINT64": ("UINT64", 2**64 - 1),
        "INT64": ("INT64", -(2**63)), "FLOAT32": ("FLOAT32", 1.1), "FLOAT64": ("FLOAT64", 1e300),
        "BOOL": ("BOOL", True),
    }  # fmt: skip
    words: dict[str, tuple[str, Any]] = {f"word.{n}": ("STRING", word) for n, word in enumerate(WORDS) if word}
    lists: dict[str, tuple[str, Any]] = {
        "list.words": ("ARRAY", WORDS),
        "list.numbers": ("ARRAY", [-1, 0, 7]),
        "list.floats": ("ARRAY", [0.5, -1.25]),
        "list.switches": ("ARRAY", [True, False]),
        "list.one": ("ARRAY", [3]),
        "ключ.日本": ("UINT32", 5),
    }
    path = written(tmp_path / "all.gguf", scalars | words | lists)
    found = read_metadata(path)
    assert found == by_llama_cpp(path)
    assert {"UINT8", "list.words", "ключ.日本", "general.architecture"} <= set(found)
    assert found["list.words"] == WORDS


@pytest.mark.parametrize("seed", range(12))
def test_drawn_files_are_read_alike(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)

    def text() -> str:
        return "".join(draw.choice(string.printable + "äß漢🙂") for _ in range(draw.randrange(1, 40)))

    kinds: list[Any] = [
        lambda: ("STRING", text()),
        lambda: ("UINT32", draw.randrange(2**32)),
        lambda: ("FLOAT32", draw.random()),
        lambda: ("BOOL", draw.random() < 0.5),
        lambda: ("ARRAY", [text() for _ in range(draw.randrange(1, 50))]),
        lambda: ("ARRAY", [draw.randrange(-(2**31), 2**31) for _ in range(draw.randrange(1, 50))]),
    ]
    pairs = {f"key.{n}": draw.choice(kinds)() for n in range(30)}
    path = written(tmp_path / "drawn.gguf", pairs, tensors=draw.randrange(4))
    assert read_metadata(path) == by_llama_cpp(path)


def test_a_list_of_lists_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "nested.gguf", {"nested": ("ARRAY", [[1, 2], [3]]), "after": ("UINT32", 9)})
    assert read_metadata(path) == {"general.architecture": "llama", "nested": [[1, 2], [3]], "after": 9}


@pytest.mark.parametrize("keep", [0, 3, 8, 20, 60, 120])
def test_a_header_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = written(tmp_path / "cut.gguf", {"list": ("ARRAY", WORDS)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IntegrityViolated, match=r"cut\.gguf is not"):
        read_metadata(path)


@pytest.mark.slow
def test_a_converted_model_with_its_vocabulary_and_template_is_read_alike(tiny_model: Path, tmp_path: Path) -> None:
    path = converted(tiny_model, tmp_path / "tiny.gguf")
    found = read_metadata(path)
    assert found == by_llama_cpp(path)
    assert len(found["tokenizer.ggml.tokens"]) == len(found["tokenizer.ggml.scores"]) > 1000
