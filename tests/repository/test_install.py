"""`pip install .` gives the launcher without torch: the checkout is installed into an environment of its own."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from job.errors import Bug, EnvironmentUnfit, named
from tests import ROOT
from tests.k8s.results.kept import keep
from tests.tiny_models import write_quotes

LAUNCH = "--gpu t4 --platform gke --model a/b --dataset c/d --image example.com/finetune-run:1 --dry-run"


def run(bin_folder: Path, command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in an environment that has nothing of this one, in a folder outside the checkout."""
    program, *arguments = command.split()
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(cwd), "HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.run(
        [str(bin_folder / program), *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=cwd, env=environment,
    )  # fmt: skip


@pytest.mark.slow
def test_the_launcher_is_installed_without_torch(bin_folder: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u; print([n for n in ('torch','transformers','huggingface_hub') if u.find_spec(n)])"
    )
    (tmp_path / "which.py").write_text(code)
    assert run(bin_folder, "python which.py", tmp_path).stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("finetune-run --help", "Usage"),
        ("finetune-run gpus --help", "Usage"),
        (f"finetune-run {LAUNCH}", "kind: Job"),
        ("python -m push --help", "Usage"),
        ("python -m push plan --help", "Usage"),
        ("python -m job schema", '"properties"'),
    ],
)
def test_what_needs_no_torch_runs_without_it(bin_folder: Path, tmp_path: Path, command: str, said: str) -> None:
    done = run(bin_folder, command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


HERE = "--model MODEL --dataset rows.jsonl --set dataset.text=quote --gpu t4 --platform gke"
"""A model and rows that lie here: everything that the launcher can look at is looked at."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"finetune-run {HERE} --store-pvc runs --image example.com/finetune-run:1 --dry-run", "kind: Job"),
        (f"finetune-run {HERE} --sweep lora.r=8,16 --store-pvc runs --image example.com/f:1 --dry-run", "kind: Job"),
        (
            "finetune-run --model a/b --dataset rows.jsonl --gpu t4 --platform gke --image e.com/f:1 --emit values",
            "spec:",
        ),
        (f"finetune-run plan {HERE}", "peak"),
        ("finetune-run init --model MODEL --dataset rows.jsonl --gpu t4", ""),
        ("finetune-run config", ""),
        ("finetune-run compare a b --store store --html compared.html", "Q4_K_M"),
        ("python -m job check local.yaml", ""),
        ("python -m job plan local.yaml --gpu t4", "peak"),
    ],
)
def test_what_lies_here_is_looked_at_without_torch(
    bin_folder: Path, model_folder: Path, tmp_path: Path, command: str, said: str
) -> None:
    write_quotes(tmp_path / "rows.jsonl")
    for name in ("a", "b"):
        keep(tmp_path / "store", name)
    spec = {"model": {"id": str(model_folder)}, "dataset": {"id": "rows.jsonl", "text": "quote"}}
    (tmp_path / "local.yaml").write_text(json.dumps(spec))
    done = run(bin_folder, command.replace("MODEL", str(model_folder)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.slow
def test_a_spec_is_checked_and_planned_without_torch(bin_folder: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "recipe.yaml", tmp_path / "my.yaml")
    for command in ("check my.yaml", "plan my.yaml --gpu t4"):
        done = run(bin_folder, f"python -m job {command}", tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_running_the_job_without_its_extra_says_what_to_install(bin_folder: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "recipe.yaml", tmp_path / "my.yaml")
    done = run(bin_folder, "python -m job run my.yaml", tmp_path)
    assert done.returncode == 78, done.stderr
    assert "is not installed" in done.stderr and "pip install '.[job]'" in done.stderr


def test_only_a_whole_package_that_is_missing_counts_as_not_installed() -> None:
    assert isinstance(named(ModuleNotFoundError("no torch", name="torch")), EnvironmentUnfit)
    assert isinstance(named(ModuleNotFoundError("no torch.x", name="torch.x")), Bug)


def test_the_two_lists_of_requirements_are_the_dependencies_and_the_extra() -> None:
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["dynamic"]
    assert dynamic["dependencies"] == {"file": ["requirements/launcher.in"]}
    assert dynamic["optional-dependencies"] == {"job": {"file": ["requirements/job.in"]}}
    runtime = [line for line in (ROOT / "requirements" / "runtime.in").read_text().splitlines() if line[0] != "#"]
    assert runtime == ["-r launcher.in", "-r job.in"]
