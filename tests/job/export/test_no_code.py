"""A model's own code is never run: not by a config, not by a tokenizer, not by llama.cpp's converter."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.agreement.reference import logarithms
from job.errors import IntegrityViolated
from job.export.gguf_convert import write_gguf
from job.export.merge_plan import EMPTY
from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.fetch.view import CONFIGS, make_view
from job.llama_cpp import bundle
from job.rehearsal.loading import check_tokens, load_hollow
from job.spec import JobSpec
from job.tokens.tokenizer import load_tokenizer
from job.train.embeddings import pieces_of
from job.train.model import load_base
from tests import ROOT
from tests.families.configs import make
from tests.hub_server import Hub
from tests.job.train.trainers import ON_THE_CPU, spec_of
from tests.tiny_families import make_family

pytestmark = pytest.mark.slow

NAMED: dict[str, dict[str, Any]] = {
    "config.json": {"AutoConfig": "planted.Config", "AutoModelForCausalLM": "planted.Model"},
    "tokenizer_config.json": {"AutoTokenizer": ["planted.Tokenizer", "planted.Tokenizer"]},
    "generation_config.json": {"AutoModelForCausalLM": "planted.Model"},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen 2.5, whose tokenizer the converter loads with transformers."""
    return make_family(tmp_path_factory.mktemp("sound") / "qwen", "Qwen 2.5")


@pytest.fixture
def plant(sound: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies the model with code that makes the folder `ran`, named by some of its configs."""

    def plant(*names: str, model: Path = sound) -> Path:
        folder = tmp_path / "planted"
        folder.mkdir()
        for path in model.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "planted.py").write_text(f"import os\nos.makedirs({str(tmp_path / 'ran')!r}, exist_ok=True)\n")
        for name in names:
            path = folder / name
            config = json.loads(path.read_text()) if path.is_file() else {}
            path.write_text(json.dumps(config | {"auto_map": NAMED[name]}))
        return folder

    return plant


def fetch(model: str, folder: Path) -> fetch_stage.Result:
    spec = JobSpec.model_validate({"model": {"id": model}, "training": None})
    return fetch_stage.run(spec, fetch_stage.Inputs(sources=sources.resolve(spec)), folder)


def convert(folder: Path, target: Path) -> None:
    write_gguf(folder, target, "bf16", "planted", lambda *_: EMPTY)


@pytest.mark.parametrize("where", ["a folder", "a repository"])
@pytest.mark.parametrize("name", [None, *NAMED])
def test_code_beside_a_model_that_is_known_natively_is_neither_run_nor_needed(
    plant: Callable[..., Path], hub: Hub, tmp_path: Path, where: str, name: str | None
) -> None:
    folder = plant(*([name] if name else []))
    place = str(folder)
    if where == "a repository":
        hub.add(place := "someone/planted", {path.name: path.read_bytes() for path in folder.iterdir()})
    result = fetch(place, tmp_path / "work")
    assert not list((tmp_path / "work").rglob("*.py"))
    convert(result.model, tmp_path / "planted.gguf")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_needs_its_own_code_is_refused(plant: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = plant(name)
    if name == "config.json":
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "planted"}))
    else:
        (folder / "tokenizer.json").unlink()
    with pytest.raises(IntegrityViolated, match=f"{name} has auto_map"):
        fetch(str(folder), tmp_path / "work")
    assert not (tmp_path / "ran").exists()


def test_what_is_loaded_from_a_view_runs_no_code_even_if_code_is_allowed(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    view = make_view(plant(*NAMED), tmp_path / "view", ["model.safetensors"])
    for auto in (AutoConfig, AutoTokenizer, AutoModelForCausalLM):
        auto.from_pretrained(view, trust_remote_code=True)
    convert(view, tmp_path / "planted.gguf")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("family", ["Qwen 2.5", "GLM-4"])
def test_the_converter_runs_no_code_even_of_the_folder_itself(
    plant: Callable[..., Path], sound: Path, tmp_path: Path, family: str
) -> None:
    """llama.cpp's own converter of GLM-4 asks transformers to run a tokenizer's code."""
    model = sound if family == "Qwen 2.5" else make(family, tmp_path / "model")
    convert(plant("tokenizer_config.json", model=model), tmp_path / "planted.gguf")
    assert not (tmp_path / "ran").exists()


LOADERS: dict[str, Callable[[Path], Any]] = {
    "the model to train": lambda folder: load_base(spec_of(folder), folder, ON_THE_CPU),
    "the model to compare with": lambda folder: list(logarithms(folder, [[1, 2, 3, 4]], 1)),
    "the hollow model": lambda folder: load_hollow(folder, "planted"),
    "the tokenizer": lambda folder: load_tokenizer(spec_of(folder), folder),
    "its vocabulary": lambda folder: check_tokens(folder, 10**6, "planted"),
    "what it reads a token as": lambda folder: pieces_of(folder, ["<one>"]),
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_what_loads_a_model_runs_no_code_even_of_the_folder_itself(
    plant: Callable[..., Path], tmp_path: Path, load: Callable[[Path], Any]
) -> None:
    load(plant(*NAMED))
    assert not (tmp_path / "ran").exists()


def test_nothing_is_loaded_by_transformers_without_forbidding_code() -> None:
    """By default transformers asks at the terminal whether to run a model's code."""
    calls = [
        (f"{path}:{call.lineno}", {one.arg: ast.unparse(one.value) for one in call.keywords})
        for path in (ROOT / "job").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".from_pretrained")
        if "Peft" not in ast.unparse(call.func)
    ]
    assert len(calls) >= len(LOADERS)
    assert [place for place, given in calls if given.get("trust_remote_code") != "False"] == []


def test_no_converter_trusts_remote_code() -> None:
    for path in bundle.converter_path().rglob("*.py"):
        assert "trust_remote_code=True)" not in path.read_text(encoding="utf-8"), path


def test_the_configs_of_a_view_are_those_that_can_name_code() -> None:
    assert set(NAMED) <= set(CONFIGS)
