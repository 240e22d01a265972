"""Calls `python -P -m push` as a workflow does: in the checkout, with a runner's variables, the action's packages."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.fixtures import Cluster
from tests.k8s.chart.charts import ROOT
from tests.k8s.launcher import Launcher, Said
from tests.push.git_repository import Repository

REPOSITORY = "team/models"
SPEC = "model: {id: owner/model}\ndataset: {id: owner/rows}\npublish: {s3: 's3://models/team/a'}\n"


def call(
    repo: Repository,
    *arguments: str | bytes,
    config: dict[str, Any] | None = None,
    timeout_s: float = 180,
    **environ: str,
) -> Said:
    """In the checkout, as GitHub's runner sets it up."""
    runner = {
        "PYTHONPATH": str(ROOT),
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_RUN_ID": "7",
        "GITHUB_STEP_SUMMARY": str(repo.folder.parent / "summary.md"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "FINETUNE_LLAMA": str(repo.folder.parent / "none"),
        "COLUMNS": "200",
        "KUBECONFIG": str(repo.folder.parent / "none"),
    }
    if config is not None:
        runner["FINETUNE_PUSH_CONFIG"] = json.dumps(config)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI_"))}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.push.as_the_action", "push", *arguments],
        cwd=repo.folder, env=kept | runner | environ, capture_output=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def summary(repo: Repository) -> str:
    """The page of the workflow's run."""
    return Path(repo.folder.parent / "summary.md").read_text()


IMAGE = "registry.example/finetune-run@sha256:" + "a" * 64

CONFIG = {
    "image": IMAGE,
    "namespace": "finetune",
    "store": "s3://runs/store",
    "publish": {"s3": ["s3://models/team"], "hub": ["Team"]},
}


class Pushed:
    """A repository, a namespace, and the command between them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.repo = Repository(folder / "repo")
        self.launcher = Launcher(cluster, cluster.namespace(restricted=True))
        self.config: dict[str, Any] = CONFIG | {"gpu": "none", "namespace": self.launcher.namespace}

    def push(self, before: str, *options: str, **environ: str) -> Said:
        return self.command("train", "--before", before, "--after", self.repo.head(), *options, **environ)

    def command(self, *arguments: str, **environ: str) -> Said:
        environ = {"KUBECONFIG": str(self.launcher.kubeconfig)} | environ
        return call(self.repo, *arguments, config=self.config, **environ)

    def job(self) -> Any:
        (job,) = self.launcher.jobs()
        return job
