"""A push may bring its data: files of its own commit, below an allowed folder, as the commit has them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from job.errors import SpecInvalid
from job.store import open_store
from push.changes import of_push
from push.config import Config
from push.data import brought
from push.specs import specs_of
from tests.cluster.fixtures import Cluster
from tests.k8s.launcher import Launcher
from tests.push.git_repository import Repository
from tests.push.pushes import CONFIG, call
from tests.s3_server import Bucket

ROWS = "".join(json.dumps({"text": f"row {number} of the text"}) + "\n" for number in range(20))
SPEC = "model: {id: owner/model}\ndataset: {id: ./data/rows.jsonl}\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def pushed(repo: Repository, config: dict[str, Any] | None = None, spec: str = SPEC) -> bytes:
    """The content of the data set that a push brings."""
    repo.write("runs/quotes.yaml", spec)
    after = repo.commit()
    repo.write("data/rows.jsonl", "what only lies there\n")
    settings = Config.model_validate(CONFIG | {"sources": ["hub", "repository"]} | (config or {}))
    change = of_push(repo.folder, repo.start, after)
    specs = specs_of(repo.folder, change, settings)
    with brought(repo.folder, change.after, specs, settings) as (found, folder):
        place = Path(found[0][1].datasets[0].id)
        assert place.is_relative_to(folder)
        return place.read_bytes()


def test_the_rows_are_those_of_the_commit_not_those_that_are_checked_out(repo: Repository) -> None:
    repo.write("data/rows.jsonl", ROWS)
    assert pushed(repo) == ROWS.encode()


@pytest.mark.parametrize(
    ("config", "place", "said"),
    [
        ({"sources": ["hub"]}, "./data/rows.jsonl", "is not allowed; allowed sources: hub"),
        ({}, "./secrets/rows.jsonl", "is not below a folder for data: data"),
        ({}, "./data/../secrets/rows.jsonl", "is not below a folder for data"),
        ({}, "/data/rows.jsonl", "is not allowed; allowed sources: hub, repository"),
        ({"data_folders": ["rows/of/ours"]}, "./data/rows.jsonl", "is not below a folder for data: rows/of/ours"),
        ({}, "./data/none.jsonl", "data/none.jsonl is not in the commit"),
        ({"max_data": "1k"}, "./data/rows.jsonl", "is larger than 0 MB (max_data)"),
        ({}, "./data/broken.jsonl", "2 of 2 rows are broken"),
        ({}, "./data/lfs.jsonl", "Git LFS pointer: the commit does not have the data itself"),
        ({}, "./data/link.jsonl", "is not an ordinary file"),
    ],
)
def test_what_a_push_may_not_bring_is_refused_with_the_reason(
    repo: Repository, config: dict[str, Any], place: str, said: str
) -> None:
    repo.write("data/rows.jsonl", ROWS * 3)
    repo.write("data/broken.jsonl", "{one\n{two\n")
    repo.write("data/lfs.jsonl", LFS)
    repo.write("secrets/rows.jsonl", ROWS)
    repo.path("data/link.jsonl").symlink_to("/etc/passwd")
    with pytest.raises(SpecInvalid) as error:
        pushed(repo, config, SPEC.replace("./data/rows.jsonl", place))
    assert said in str(error.value) and str(error.value).startswith("runs/quotes.yaml: ")


@pytest.mark.slow
def test_the_plan_counts_rows_duplicates_and_what_changed_since_the_last_run(repo: Repository, tmp_path: Path) -> None:
    def plan(base: str) -> str:
        comment = tmp_path / "plan.md"
        config = CONFIG | {"sources": ["hub", "repository"], "gpu": "t4"}
        said = call(
            repo, "plan", "--base", base, "--head", repo.commit(), "--out", str(comment), config=config
        )  # fmt: skip
        assert said.code == 0, said.err
        return comment.read_text()

    lines = ROWS.splitlines(keepends=True)
    repo.write("data/rows.jsonl", ROWS + lines[0] * 2)
    repo.write("runs/quotes.yaml", SPEC)
    first = plan(repo.start)
    assert "data/rows.jsonl: 22 rows, 2 of them equal to an earlier one, 0 broken" in first
    assert "runs/quotes.yaml has not run before" in first
    ran = repo.head()
    repo.write("data/rows.jsonl", "".join(lines[5:]) + '{"text": "a new one"}\n')
    repo.write("runs/quotes.yaml", SPEC + "run: {seed: 7}\n")
    then = plan(ran)
    assert "data/rows.jsonl: 16 rows, 0 of them" in then
    assert f"since the last run of runs/quotes.yaml ({ran[:7]}): 1 new rows, 7 gone" in then


@pytest.mark.slow
def test_a_pushed_run_reads_the_commits_rows_from_the_store(cluster: Cluster, s3: Bucket, repo: Repository) -> None:
    cluster.nodes.add("plain")
    launcher = Launcher(cluster, cluster.namespace(restricted=True))
    store = f"s3://{s3.bucket}/store"
    config = CONFIG | {"gpu": "none", "namespace": launcher.namespace, "store": store}
    repo.write("data/rows.jsonl", ROWS)
    repo.write("runs/quotes.yaml", SPEC)
    after = repo.commit()
    repo.write("data/rows.jsonl", "what only lies there\n")
    said = call(
        repo, "train", "--before", repo.start, "--after", after,
        config=config | {"sources": ["hub", "repository"]}, KUBECONFIG=str(launcher.kubeconfig),
    )  # fmt: skip
    assert said.code == 0, said.err
    (found,) = [
        one
        for one in cluster.core.list_namespaced_config_map(launcher.namespace).items
        if "spec.json" in (one.data or {})
    ]
    place = f"inputs/{hashlib.sha256(ROWS.encode()).hexdigest()}/rows.jsonl"
    assert json.loads(found.data["spec.json"])["dataset"]["id"] == f"{store}/{place}"
    stored = open_store(store).get(place)
    assert stored and stored[0] == ROWS.encode()
