"""The workflows of this project and those that it gives away: what they call exists, and none can be turned around."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from tests.k8s.chart.charts import HELM, ROOT
from tests.push.git_repository import Repository
from tests.push.pushes import CONFIG

OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = [ROOT / "examples" / "push" / f"{name}.yml" for name in ("plan", "train", "report")]
GITLAB = ROOT / "examples" / "push" / "gitlab-ci.yml"
ACTION = ROOT / "action.yml"
BIN = Path(sys.executable).parent
NO_COLOUR = {"PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def steps(document: Any) -> list[Any]:
    """Every step of a workflow or a composite action."""
    jobs = document.get("jobs", {}).values()
    return [step for job in jobs for step in job.get("steps", [])] + document.get("runs", {}).get("steps", [])


def checked(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | NO_COLOUR, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_actionlint_finds_nothing() -> None:
    checked(str(BIN / "actionlint"), *map(str, [*OURS, *EXAMPLES]))


@pytest.mark.slow
def test_zizmor_finds_nothing() -> None:
    checked(str(BIN / "zizmor"), "--offline", "--no-progress", *map(str, [*OURS, *EXAMPLES, ACTION]))


@pytest.mark.parametrize("path", [*OURS, *EXAMPLES, ACTION], ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    used = re.findall(r"\buses: (\S+)(.*)", path.read_text())
    foreign = [(name, comment) for name, comment in used if not name.startswith("./")]
    wrong = [name for name, _ in foreign if not re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", name)]
    assert wrong == []
    assert [name for name, comment in foreign if not re.fullmatch(r" # v\d+(\.\d+\.\d+)?", comment)] == []


def test_one_action_has_one_commit_everywhere() -> None:
    used = {name for path in [*OURS, *EXAMPLES, ACTION] for name in re.findall(r"\buses: (\S+@\S+)", path.read_text())}
    assert len({name.partition("@")[0] for name in used}) == len(used)


@pytest.mark.parametrize("path", [*OURS, *EXAMPLES], ids=lambda path: path.name)
def test_no_workflow_has_a_right_that_a_job_does_not_name(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert all("permissions" in job and "write-all" not in str(job["permissions"]) for job in workflow["jobs"].values())
    assert "pull_request_target" not in path.read_text()


@pytest.mark.parametrize("path", [*OURS, *EXAMPLES, ACTION], ids=lambda path: path.name)
def test_nothing_is_written_into_a_script(path: Path) -> None:
    assert not [step["run"] for step in steps(read(path)) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_know_the_actions_inputs(path: Path) -> None:
    known = read(ACTION)["inputs"]
    calls = [step for step in steps(read(path)) if "finetune-run@" in step.get("uses", "")]
    assert len(calls) == 1 and set(calls[0]["with"]) <= set(known)
    assert {name for name, one in known.items() if one.get("required")} <= set(calls[0]["with"])


def test_a_push_is_sent_only_from_a_protected_branch_in_a_protected_environment() -> None:
    job = read(EXAMPLES[1])["jobs"]["train"]
    assert "github.ref_protected" in job["if"] and job["environment"] == "training"
    assert job["steps"][0]["with"] == {"fetch-depth": 0, "persist-credentials": False}
    train = read(GITLAB)["train"]
    assert "CI_COMMIT_REF_PROTECTED" in train["rules"][0]["if"] and train["environment"] == "training"


def test_the_gitlab_jobs_call_what_is_there_with_the_whole_history_and_no_key() -> None:
    from push.__main__ import app

    pipeline = read(GITLAB)
    assert pipeline["variables"]["GIT_DEPTH"] == "0"
    assert "id_tokens" in pipeline[".cluster"] and pipeline["train"]["extends"] == ".cluster"
    lines = [line for name in ("plan", "train", "report") for line in pipeline[name]["script"] if " -m push " in line]
    group = typer.main.get_group(app)
    for line in lines:
        name, *options = line.split(" -m push ")[1].replace('"', "").split()
        group.commands[name].make_context(name, options)
    assert len(lines) == 3


class Step:
    """The action's script, as a runner runs it: bash, with the variables that the step names."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.temp = Repository(folder / "repo"), folder / "temp"
        (self.temp / "finetune-run" / "bin").mkdir(parents=True)
        python = self.temp / "finetune-run" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (self.script,) = [step["run"] for step in read(ACTION)["runs"]["steps"] if step.get("id") == "run"]

    def __call__(self, command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        runner = {
            "COMMAND": command, "RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(self.temp / "output"), "GITHUB_REPOSITORY": "team/models", "GITHUB_TOKEN": "",
            "FINETUNE_PUSH_CONFIG": json.dumps(CONFIG), "HF_ENDPOINT": "http://127.0.0.1:9",
            "KUBECONFIG": str(self.temp / "none"), "FINETUNE_LLAMA": str(self.temp / "none"),
        }  # fmt: skip
        empty = dict.fromkeys(("FILES", "WAIT", "TIMEOUT", "BASE", "HEAD", "BEFORE", "AFTER"), "")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", self.script],
            cwd=self.repo.folder, env=kept | empty | runner | environ, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


@pytest.mark.slow
def test_the_actions_plan_leaves_its_comment_where_it_says(step: Step) -> None:
    step.repo.write("runs/a.yaml", "model: {id: owner/model}\ndataset: {id: owner/rows}\n")
    done = step("plan", BASE=step.repo.start, HEAD=step.repo.commit())
    assert done.returncode == 0, done.stderr
    output = (step.temp / "output").read_text().strip()
    assert "`runs/a.yaml`" in Path(output.removeprefix("comment=")).read_text()


@pytest.mark.slow
def test_the_action_hands_names_over_as_they_are(step: Step) -> None:
    step.repo.write("runs/$(touch ran) --help.yaml", "nothing: here\n")
    done = step("train", AFTER=step.repo.commit(), FILES="runs/$(touch ran) --help.yaml")
    assert done.returncode == 64 and "runs/$(touch ran) --help.yaml: " in done.stderr
    assert not (step.repo.folder / "ran").exists()
    outside = step("train", AFTER=step.repo.head(), FILES="runs/old.yaml\nREADME.md")
    assert outside.returncode == 64 and "README.md is not a spec in commit" in outside.stderr


@pytest.mark.slow
def test_the_action_sends_what_the_push_has_changed(step: Step) -> None:
    step.repo.write("runs/a.yaml", "model: {id: owner/model}\ndataset: {id: owner/rows}\n")
    done = step("train", BEFORE=step.repo.start, AFTER=step.repo.commit(), WAIT="true", TIMEOUT="5")
    assert done.returncode == 10 and "no cluster is configured" in done.stderr
    assert step("anything").returncode == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "inputs", "said"),
    [
        ("train", {"WAIT": "yes"}, "wait is true or false"),
        ("train", {"TIMEOUT": "60"}, "--timeout is for waiting"),
        ("train", {"FILES": "runs/a.yaml", "TIMEOUT": "60"}, "--timeout is for waiting"),
        ("plan", {"WAIT": "true"}, "are for the command train"),
        ("report", {"FILES": "runs/a.yaml"}, "are for the command train"),
    ],
)
def test_an_input_of_the_action_that_nothing_would_read_is_refused(
    step: Step, command: str, inputs: dict[str, str], said: str
) -> None:
    done = step(command, BEFORE=step.repo.start, AFTER=step.repo.head(), **inputs)
    assert done.returncode == 16 and said in done.stderr, done.stderr


RELEASE = {"GITHUB_REPOSITORY": "Team/Finetune-Run"}


def released(tag: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | RELEASE | {"GITHUB_REF_NAME": tag}
    script = str(ROOT / "scripts" / "release-version.sh")
    return subprocess.run([script], env=environ, capture_output=True, text=True, check=False)


def test_a_release_has_one_version_everywhere() -> None:
    from job import __version__

    done = released(f"v{__version__}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"version={__version__}", "image=ghcr.io/team/finetune-run", "charts=ghcr.io/team/charts",
    ]  # fmt: skip
    assert "the tag is v9.9.9" in released("v9.9.9").stderr and released("v9.9.9").returncode == 1


@pytest.mark.slow
def test_the_released_chart_names_the_released_image_by_its_digest(tmp_path: Path) -> None:
    script, digest = ROOT / "scripts" / "package-chart.sh", "sha256:" + "a" * 64
    command = [str(script), "ghcr.io/team/finetune-run", digest, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values = subprocess.run([str(HELM), "show", "values", done.stdout.strip()], capture_output=True, check=True).stdout
    image = YAML(typ="safe").load(values)["image"]
    assert (image["repository"], image["digest"]) == ("ghcr.io/team/finetune-run", digest)
