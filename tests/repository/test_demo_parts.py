"""What `make demo` is made of: the system packages, the base model, the rows and the spec."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from job.chat.rendering import Budget
from job.dataset import layouts
from job.llama_cpp import bundle as llama
from job.llama_cpp.examine import Questions, examine
from job.spec.load import load
from job.spec.sections import Dataset
from job.tokens.renderer import Renderer
from tests import ROOT

pytestmark = pytest.mark.slow


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environ)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("rows") / "new" / "rows.jsonl"
    made = run(sys.executable, ROOT / "scripts" / "demo_data.py", path)
    assert made.returncode == 0 and made.stderr == ""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The demo's base model; about a minute where the cache does not have it."""
    made = run(sys.executable, ROOT / "scripts" / "smollm2.py")
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


def bare_path(folder: Path, *names: str) -> str:
    """A PATH with these programs alone."""
    folder.mkdir()
    for name in names:
        found = run("bash", "-c", f"type -P {name}").stdout.strip()
        (folder / name).symlink_to(found)
    return str(folder)


def test_system_packages_that_are_there_are_found_at_once() -> None:
    started = time.monotonic()
    done = run(ROOT / "scripts" / "system.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - started < 30


def test_missing_system_packages_are_named_in_one_line_where_they_cannot_be_installed(tmp_path: Path) -> None:
    path = bare_path(tmp_path / "bin", "bash", "env", "dirname", "id", "cmake", "tar")
    done = run(ROOT / "scripts" / "system.sh", PATH=path)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("these system packages are missing: g++ ninja-build patch util-linux python3 python3-venv ")
    assert "cmake" not in line


def as_root_on_debian(folder: Path, apt_get: str) -> subprocess.CompletedProcess[str]:
    """`system.sh` where only Python is missing, with this apt-get. Its log is `folder`/cache/system.log."""
    essential = ("dirname", "mkdir", "head", "tail", "grep", "cut", "tr")
    path = bare_path(folder / "bin", "bash", "env", "g++", "cmake", "ninja", "patch", "tar", "flock", *essential)
    for name, body in (("id", "echo 0"), ("apt-get", apt_get)):
        program = folder / "bin" / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    cache = str(folder / "cache")
    return run(ROOT / "scripts" / "system.sh", PATH=path, PYTHON="no-such-python", FINETUNE_CACHE=cache)


def test_missing_system_packages_are_installed_by_root_on_debian(tmp_path: Path) -> None:
    done = as_root_on_debian(tmp_path, f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/said; echo Unpacking')
    assert done.returncode == 0 and done.stdout == ""
    first, last = done.stderr.splitlines()
    assert first.startswith("system packages: installing python3 python3-venv; log: ")
    assert last.startswith("system packages: installing python3 python3-venv: done in ")
    update, install = (tmp_path / "said").read_text().splitlines()
    assert update.startswith("noninteractive") and update.endswith("update")
    assert " -qy " in install and install.endswith("install --no-install-recommends python3 python3-venv")
    assert (tmp_path / "cache" / "system.log").read_text() == "Unpacking\nUnpacking\n"


def test_system_packages_that_cannot_be_installed_end_it_with_apts_words(tmp_path: Path) -> None:
    done = as_root_on_debian(tmp_path, 'echo "E: Unable to locate package python3" >&2; exit 100')
    assert done.returncode == 100
    *_, said, log = done.stderr.splitlines()
    assert said == "E: Unable to locate package python3" and log == f"The whole log: {tmp_path}/cache/system.log"


def test_the_rows_are_questions_with_short_answers_of_one_shape(rows: list[dict[str, Any]]) -> None:
    assert len(rows) > 1500
    for row in rows:
        question, answer = (turn["content"] for turn in row["messages"])
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        asked = re.fullmatch(r"What does ([\w.]+) do\?", question)
        said = re.fullmatch(r"([\w.]+)(\(.*\))\n\n([A-Z].+\.)", answer)
        assert asked and said and asked[1] == said[1]
        assert len(said[3]) <= 160 and answer.isascii()


def test_the_answers_are_pythons_own_and_no_two_are_alike(rows: list[dict[str, Any]]) -> None:
    answers = {row["messages"][0]["content"]: row["messages"][1]["content"] for row in rows}
    known = "textwrap.dedent(text)\n\nRemove any common leading whitespace from every line in `text`."
    assert answers["What does textwrap.dedent do?"] == known
    assert len(answers) == len(rows) == len({answer.split("\n\n")[1] for answer in answers.values()})
    assert len({question.split()[2].split(".")[0] for question in list(answers)[:60]}) > 20, "not shuffled"


def test_the_rows_are_the_same_each_time_they_are_made(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    for seed in ("1", "2"):
        run(sys.executable, ROOT / "scripts" / "demo_data.py", tmp_path / seed, PYTHONHASHSEED=seed)
    first = (tmp_path / "1").read_text(encoding="utf-8")
    assert first == (tmp_path / "2").read_text(encoding="utf-8")
    assert [json.loads(line) for line in first.splitlines()] == rows


def test_the_demo_spec_is_valid_and_its_rows_fit_it(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    environ = {"FINETUNE__MODEL__ID": str(tmp_path), "FINETUNE__DATASET__ID": str(tmp_path / "rows.jsonl")}
    spec = load(ROOT / "examples" / "demo.yaml", environ)
    assert spec.model.id == str(tmp_path) and spec.load.bits == 4 and spec.training
    assert layouts.find_layout(Dataset(id="rows.jsonl"), rows[:8], "rows").kind == "messages"
    steps, batch = spec.training.max_steps, spec.training.per_device_train_batch_size
    assert steps * batch < len(rows), "a row would come twice"


def test_the_base_model_is_made_once_and_found_at_once(smollm2: Path) -> None:
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in smollm2.iterdir()
    }
    program = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__'); print('torch' in sys.modules)"
    again = run(sys.executable, "-c", program, ROOT / "scripts" / "smollm2.py")
    assert again.stdout.splitlines() == [str(smollm2), "False"] and again.stderr == ""


def test_the_base_model_splits_digits_as_its_makers_trained_it(smollm2: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    assert tokenizer.encode("in 2024").tokens == ["in", "Ġ", "2", "0", "2", "4"]


def test_the_demos_chat_template_is_the_models_own_without_its_system_prompt(smollm2: Path) -> None:
    from transformers import AutoTokenizer

    environ = {"FINETUNE__MODEL__ID": str(smollm2), "FINETUNE__DATASET__ID": "rows.jsonl"}
    template = load(ROOT / "examples" / "demo.yaml", environ).chat.template
    talk = [{"role": role, "content": f"I am {role}."} for role in ("system", "user", "assistant", "user", "assistant")]
    own, demo = (AutoTokenizer.from_pretrained(smollm2) for _ in range(2))
    demo.chat_template = template
    for chat in (talk, talk[:3]):
        said = [Renderer(one, Budget(is_own=True)).render(chat).text for one in (own, demo)]
        assert said[0] == said[1] and said[0].count("<|im_start|>") == len(chat)


def test_llama_cpp_takes_the_base_model_and_it_knows_paris(smollm2: Path, tmp_path: Path) -> None:
    gguf = tmp_path / "smollm2-f16.gguf"
    converter = llama.converter_path() / "convert_hf_to_gguf.py"
    done = run(sys.executable, converter, smollm2, "--outfile", gguf, "--outtype", "f16")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Paris" in examine(gguf, Questions()).generated
