"""Every command of the pages works as written, in the environment that the text has made by then.

What needs no cluster, cloud or training is run. The rest is parsed as its program parses it. A command of which no
check knows fails.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from job.spec.load import load
from tests.cluster.control_plane import programs
from tests.k8s.chart.charts import HELM, ROOT
from tests.placeholders import filled
from tests.push.git_repository import Repository
from tests.repository.commands import ASSIGNED, PAGES, Command, app_of, in_blocks, in_text, parsed, specs

VENV = ROOT / ".venv" / "bin"
ELSEWHERE = {
    "gcloud": "a cloud's program",
    "eksctl": "a cloud's program",
    "az": "a cloud's program",
    "aws": "a cloud's program",
    "docker": "builds and runs images: tests/repository/test_image.py, `make e2e`",
    "kind": "makes a cluster of docker's containers",
}
"""Programs that are not here, and why. Of their arguments, files of this repository must exist."""
NEEDS_A_CLUSTER = ("list", "status", "logs", "cancel", "resume", "results", "compare", "gpus")
"""Commands of the launcher that tests/k8s/cli and tests/k8s/results run against a control plane."""
NEEDS_MORE = ("run", "--access", "--rows")
"""Of the job: it trains (tests/job/pipeline), tries credentials (tests/job/pipeline/test_access.py),
or fetches a tokenizer (tests/job/test_check_rows.py)."""


class Reader(NamedTuple):
    """The folder of somebody who reads a page, with the files that it has told of, their two environments, and the
    variables that the page has exported."""

    folder: Path
    light: Path
    repository: Repository
    exported: dict[str, str]

    def run(self, *command: str | Path) -> str:
        environment = os.environ | {"KUBECONFIG": str(self.folder / "none"), "HF_ENDPOINT": "http://127.0.0.1:9"}
        environment.pop("VIRTUAL_ENV", None)
        environment |= self.exported
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=self.folder, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path, bin_folder: Path, model_folder: Path, request: pytest.FixtureRequest) -> Reader:
    repository = Repository(tmp_path / "repository")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("examples", "helm", "k8s", "scripts", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    page = request.node.callspec.params["command"].page
    for name, text in (specs(ROOT / "README.md") | specs(page)).items():
        (folder / name).write_text(text)
    (folder / "model").symlink_to(model_folder)
    (folder / "answers.csv").write_text("question,answer\nWhat is 3 plus 4?,7\n")
    (folder / "bundle.pem").write_text("")
    (repository.folder / "runs" / "quotes.yaml").write_text((folder / "my.yaml").read_text())
    repository.commit()
    exported = [word.split("=", 1) for one in in_blocks(page) if one.words[0] == "export" for word in one.words[1:]]
    return Reader(folder, bin_folder, repository, dict(exported))


def check_job(reader: Reader, words: tuple[str, ...]) -> None:
    if words[3] == "chat":  # tests/job/talk
        parsed(app_of("job"), words[3:])
    elif any(word in NEEDS_MORE for word in words):
        parsed(app_of("job"), words[3:])
        assert load(reader.folder / words[4], {}).model.id
    else:
        assert reader.run(VENV / "python", *words[1:])


def check_push(reader: Reader, words: tuple[str, ...]) -> None:
    """In the environment of `pip install .`, in a repository where a spec was added."""
    commits = {"BASE": reader.repository.start, "BEFORE": reader.repository.start}
    commits |= dict.fromkeys(("HEAD", "AFTER"), reader.repository.head())
    given = [commits.get(word, word) for word in words[1:]]
    assert "quotes.yaml" in reader._replace(folder=reader.repository.folder).run(reader.light / "python", *given)


def check_launcher(reader: Reader, words: tuple[str, ...]) -> None:
    """In the environment of `pip install .`."""
    if words[1] in NEEDS_A_CLUSTER:
        parsed(app_of("finetune-run"), words[1:])
        return
    if words[1] == "init":
        reader.run(reader.light / "finetune-run", *words[1:])
        assert load(reader.folder / words[2], {}).model.id
        return
    platform = () if "--platform" in words else ("--platform", "gke")
    dry = () if "plan" in words or "--emit" in words or "--dry-run" in words else ("--dry-run",)
    said = reader.run(reader.light / "finetune-run", *words[1:], *platform, *dry)
    assert "plan" in words or "kind: Job" in said or "spec:" in said


def check_helm(reader: Reader, words: tuple[str, ...]) -> None:
    if words[1] == "install":
        assert "kind: Job" in reader.run(HELM, "template", *words[2:])
    else:
        assert reader.run(HELM, words[1], "--help")


def filled_examples(reader: Reader) -> None:
    """As the pages say, the reader has replaced the placeholders, and has rows."""
    (reader.folder / "rows.jsonl").write_text('{"text": "a row"}\n' * 3)
    (reader.folder / "examples").unlink()
    shutil.copytree(ROOT / "examples", reader.folder / "examples")
    for path in (reader.folder / "examples").rglob("*.yaml"):
        path.write_text(filled(path.read_text()))


def check_kubectl(reader: Reader, words: tuple[str, ...]) -> None:
    if words[1] == "create":
        reader.run(programs() / "kubectl", *words[1:], "--dry-run=client")
    else:
        assert words[1:3] == ("apply", "-f")
        assert [one["kind"] for one in yaml.safe_load_all((reader.folder / words[3]).read_text()) if one]


def check_soak(reader: Reader, words: tuple[str, ...]) -> None:
    """tests/faults/test_soak.py runs a short one."""
    environment = os.environ | {"COLUMNS": "200"}
    said = subprocess.run(
        [sys.executable, *words[2:4], "--help"], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    )
    assert all(word in said.stdout for word in words if word.startswith("--"))


def check_make(_: Reader, words: tuple[str, ...]) -> None:
    subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True, timeout=60)


def check_pip(reader: Reader, words: tuple[str, ...]) -> None:
    """The fixture has installed `.`; the extra is what requirements/job.in names."""
    assert words[2] in (".", ".[job]") and (reader.light / "finetune-run").is_file()


def check_source(reader: Reader, words: tuple[str, ...]) -> None:
    """make makes .venv, and README's lines .launcher."""
    assert words[1] == ".launcher/bin/activate" or (ROOT / words[1]).is_file()
    assert (reader.light / "activate").is_file()


def check_venv(reader: Reader, words: tuple[str, ...]) -> None:
    reader.run(sys.executable, *words[1:])
    assert (reader.folder / words[3] / "bin" / "activate").is_file()


def check_link(_: Reader, words: tuple[str, ...]) -> None:
    script = words[2].removeprefix("$(").removesuffix(")").split()
    assert (ROOT / script[0]).is_file() and (ROOT / script[1]).is_file()


def check_assignment(_: Reader, words: tuple[str, ...]) -> None:
    assert all(ASSIGNED.match(word) for word in words[1:])


CHECKS: dict[tuple[str, ...], Callable[[Reader, tuple[str, ...]], None]] = {
    ("python", "-m", "job"): check_job,
    ("python", "-m", "push"): check_push,
    ("finetune-run",): check_launcher,
    ("helm",): check_helm,
    ("python3", "-m", "venv"): check_venv,
    ("kubectl",): check_kubectl,
    ("make",): check_make,
    ("nice", ".venv/bin/python", "-m", "tests.soak"): check_soak,
    ("pip", "install"): check_pip,
    ("source",): check_source,
    ("ln", "-s"): check_link,
    ("export",): check_assignment,
}
COMMANDS = sorted({command for page in PAGES for command in in_blocks(page)})


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_of_the_pages_works(command: Command, reader: Reader) -> None:
    if command.words[0] in ELSEWHERE:
        named = [word for word in command.words if word.split("/")[0] in ("examples", "helm", "k8s", "scripts")]
        assert [name for name in named if not (ROOT / name).exists()] == []
        return
    check = next((one for start, one in CHECKS.items() if command.words[: len(start)] == start), None)
    assert check, f"nothing covers this command: add a check for {command.words[0]}"
    filled_examples(reader)
    check(reader, command.words)


INSTALLED_BY = {
    "finetune-run": ("pip install .", "launcher.md"),
    "push": ("pip install .", ".launcher"),
    "job": ("make", "first-run.md"),
}


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT / "bench"], ids=lambda page: page.name)
def test_a_page_says_what_installs_the_programs_that_it_uses(page: Path) -> None:
    programs = {one.words[2] if one.words[0] == "python" else one.words[0] for one in in_blocks(page)}
    text = " ".join(page.read_text().split())
    for program in programs & set(INSTALLED_BY):
        assert any(said in text for said in INSTALLED_BY[program]), program


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.variables], ids=str)
def test_a_variable_before_a_command_is_read_by_something(command: Command) -> None:
    read = [ROOT / "Makefile", ROOT / "docs" / "environment.md", *(ROOT / "scripts").glob("*.sh")]
    text = "".join(path.read_text() for path in read)
    assert [name for name in command.variables if name not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_in_running_text_has_these_options(page: Path) -> None:
    targets = (ROOT / "Makefile").read_text()
    for words in in_text(page):
        if words[0] == "make":
            assert all("=" in word or f"\n{word}:" in targets for word in words[1:2]), words
            continue
        program, rest = ("finetune-run", words[1:]) if words[0] == "finetune-run" else (words[2], words[3:])
        group = app_of(program)
        command = group.commands["launch"] if rest[0].startswith("-") else group.commands.get(rest[0])
        assert command, f"{' '.join(words)}: there is no such command"
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        assert [word for word in rest if word.startswith("--") and word.split("=")[0] not in known] == [], words


@pytest.mark.parametrize("page", [page for page in PAGES if specs(page)], ids=lambda page: page.name)
def test_a_spec_of_the_pages_is_valid(page: Path, tmp_path: Path) -> None:
    for name, text in specs(page).items():
        (tmp_path / name).write_text(text)
        assert load(tmp_path / name, {}).model.id
