"""The commands in the documentation are run, as far as can be: with `--dry-run`, as `helm template`, or parsed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from tests.cluster.control_plane import programs
from tests.k8s.chart.charts import ROOT, helm

pytestmark = pytest.mark.slow
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "bench/README.md", "helm/finetune-run/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ELSEWHERE = ("gcloud", "eksctl", "az", "docker", "kind")
"""Programs of clouds and engines, which are not here."""
INSTALLS = [("pip", "install", "."), ("pip", "install", ".[job]"), ("source", ".venv/bin/activate")]
"""tests/repository/test_install.py installs the first, and scripts/environment.sh makes what the last one is of."""
ASSIGNED = re.compile(r"([A-Z][A-Z0-9_]*)=")


def commands(page: Path) -> list[list[str]]:
    """Each command of the page's shell blocks, up to a pipe or a redirection."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            ends = [number for number, word in enumerate(words) if word in ("|", ">")]
            if words:
                found.append(words[: ends[0]] if ends else words)
    return found


ALL = sorted({tuple(words) for page in PAGES for words in commands(page)})


def of(*programs: str) -> list[tuple[str, ...]]:
    return [words for words in ALL if words[0] in programs]


def launches(words: tuple[str, ...]) -> bool:
    return words[0] == "finetune-run" and (words[1].startswith("-") or words[1] == "launch")


def run(*command: str, folder: Path) -> None:
    environment = os.environ | {"KUBECONFIG": str(folder / "none"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a reader would have it: a spec of their own, and the checkout's files."""
    for name in ("examples", "helm"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("my.yaml", "quotes.yaml"):
        (tmp_path / name).write_text((ROOT / "examples" / "recipe.yaml").read_text())
    (tmp_path / "bundle.pem").write_text("")
    return tmp_path


@pytest.mark.parametrize("words", [one for one in ALL if launches(one)], ids=" ".join)
def test_what_launches_can_be_sent(words: tuple[str, ...], folder: Path) -> None:
    options = words[1:] if words[1] != "launch" else words[2:]
    platform = () if "--platform" in options else ("--platform", "gke")
    how = () if "--emit" in options else ("--dry-run",)
    given = [one for one in options if one not in ("…", "--dry-run")]
    run(sys.executable, "-m", "k8s.launch", "launch", *given, *platform, *how, folder=folder)


@pytest.mark.parametrize("words", [one for one in of("finetune-run") if not launches(one)], ids=" ".join)
def test_the_other_commands_of_the_launcher_have_these_options(words: tuple[str, ...]) -> None:
    from k8s.launch import app

    group = typer.main.get_group(app)
    command = group.commands[words[1]]
    command.make_context(words[1], list(words[2:]))


@pytest.mark.parametrize("words", of("helm"), ids=" ".join)
def test_what_installs_the_chart_renders(words: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if words[1] == "install":
        assert "kind: Job" in helm("template", *words[2:])
    else:
        assert words[1] in helm("help")


@pytest.mark.parametrize("words", [one for one in of("python") if one[2] == "push"], ids=" ".join)
def test_training_on_push_takes_these_arguments(words: tuple[str, ...]) -> None:
    from push.__main__ import app

    typer.main.get_group(app).commands[words[3]].make_context(words[3], list(words[4:]))


@pytest.mark.parametrize("words", [one for one in of("python") if one[2] != "push"], ids=" ".join)
def test_the_job_takes_these_arguments(words: tuple[str, ...], folder: Path) -> None:
    assert words[:3] == ("python", "-m", "job")
    if words[3] == "plan" or words[3:] == ("check", "examples/recipe.yaml"):
        run(sys.executable, *words[1:], folder=folder)
    else:
        from job.__main__ import app

        typer.main.get_group(app).commands[words[3]].make_context(words[3], list(words[4:]))


@pytest.mark.parametrize("words", [one for one in of("kubectl") if one[1] == "create"], ids=" ".join)
def test_what_kubectl_creates_is_complete(words: tuple[str, ...], folder: Path) -> None:
    run(str(programs() / "kubectl"), *words[1:], "--dry-run=client", folder=folder)


def test_every_other_command_is_a_target_of_make_or_needs_what_is_not_here() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z0-9-]+):", makefile, flags=re.M)
    scripts = makefile + "".join(path.read_text() for path in (ROOT / "scripts").iterdir() if path.is_file())
    for words in ALL:
        variables = [found[1] for word in words if (found := ASSIGNED.match(word))]
        rest = [word for word in words if not ASSIGNED.match(word)]
        if words not in INSTALLS and rest[0] not in ("finetune-run", "helm", "python", "kubectl", *ELSEWHERE):
            assert rest[0] == "make" and rest[-1] in targets, words
            assert all(re.search(rf"\b{name}\b", scripts) for name in variables), words
