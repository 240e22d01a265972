"""Training on push: from a commit to published files, with the image by its digest."""

import json
from pathlib import Path

import pytest

from tests.e2e.node import Cluster
from tests.e2e.place import RESOURCES, SECRET, Place
from tests.push.git_repository import Repository
from tests.push.pushes import call, summary


@pytest.mark.own_cluster
@pytest.mark.parametrize("data", ["on the Hub", "in the commit"])
def test_a_pushed_spec_is_trained_and_published_and_its_page_says_so(
    place: Place, node: Cluster, tmp_path: Path, quotes: Path, data: str
) -> None:
    _, cpu, _, memory, _, disk = RESOURCES
    config = {
        "image": node.by_digest(),
        "namespace": place.namespace,
        "gpu": "t4",
        "store": place.store,
        "publish": {"s3": [f"s3://{place.bucket}/models"]},
        "sources": ["hub", "s3", "repository"],
        "secrets": [SECRET],
        "env": place.variables,
        "cpu": float(cpu),
        "memory": memory,
        "disk": disk,
    }
    repo = Repository(tmp_path / "repo")
    spec = place.spec()
    del spec["run"]
    if data == "in the commit":
        spec["dataset"]["id"] = "./data/quotes.jsonl"
        repo.write("data/quotes.jsonl", quotes.read_text())
    repo.write("runs/quotes.yaml", json.dumps(spec))
    commit = repo.commit()
    environ = {"KUBECONFIG": str(place.kubeconfig)} | place.addresses | place.keys
    said = call(
        repo, "train", "--before", repo.start, "--after", commit, "--wait",
        config=config, timeout_s=900, **environ,
    )  # fmt: skip
    assert said.code == 0, said.err + place.state()
    (job,) = place.jobs()
    assert place.condition(job) == "Complete"
    assert "tiny-Q8_0.gguf" in {Path(key).name for key in place.stored("models/")}
    assert commit in summary(repo) and job in summary(repo)
    brought = {Path(key).name for key in place.stored("runs/inputs/")}
    assert brought == ({"quotes.jsonl"} if data == "in the commit" else set())
