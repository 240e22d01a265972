"""From a push to a Job: a real repository, the command as a workflow calls it, a real API server."""

import threading
from typing import Any

import pytest

from job.run.records import Manifest, PublishedFile
from job.store import open_store
from tests.cluster.fixtures import Cluster, eventually
from tests.job.report.facts import facts
from tests.k8s.launcher import Said
from tests.push.git_repository import ZEROS
from tests.push.pushes import CONFIG, REPOSITORY, SPEC, Pushed, summary
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


def test_a_pushed_spec_is_a_job_that_names_its_commit(pushed: Pushed) -> None:
    pushed.config |= {"memory": "3Gi", "cpu": 0.5, "labels": {"team": "a"}, "deadline_hours": 2}
    pushed.repo.write("runs/quotes.yaml", SPEC)
    commit = pushed.repo.commit()
    said = pushed.push(pushed.repo.start)
    assert said.code == 0, said.err
    job = pushed.job()
    assert job["spec"]["activeDeadlineSeconds"] == 7200 and job["metadata"]["labels"]["team"] == "a"
    notes, pod = job["metadata"]["annotations"], job["spec"]["template"]["spec"]
    assert (notes["finetune-run/commit"], notes["finetune-run/file"]) == (commit, "runs/quotes.yaml")
    assert notes["finetune-run/repository"] == REPOSITORY
    assert notes["finetune-run/url"] == "https://github.example/team/models/actions/runs/7"
    assert notes["finetune-run/store"] == "s3://runs/store"
    assert pod["containers"][0]["image"] == CONFIG["image"]
    assert pod["containers"][0]["resources"]["requests"]["memory"] == "3Gi"
    page = summary(pushed.repo)
    link = f"[`runs/quotes.yaml`](https://github.example/team/models/blob/{commit}/runs/quotes.yaml)"
    assert link in page and job["metadata"]["name"] in page and "| sent |" in page


def test_the_same_spec_again_joins_and_keeps_both_commits(pushed: Pushed) -> None:
    pushed.repo.write("runs/quotes.yaml", SPEC)
    first = pushed.repo.commit()
    assert pushed.push(pushed.repo.start).code == 0
    uid = pushed.job()["metadata"]["uid"]
    assert pushed.push(pushed.repo.start).code == 0  # the workflow is run again
    pushed.repo.git("mv", "runs/quotes.yaml", "runs/renamed.yaml")
    second = pushed.repo.commit()
    said = pushed.push(first)
    assert said.code == 0 and "joined: " in said.err, said.err
    assert pushed.job()["metadata"]["uid"] == uid
    assert pushed.job()["metadata"]["annotations"]["finetune-run/commit"] == f"{first} {second}"


def test_a_run_that_failed_is_sent_again_and_goes_on_under_its_name(pushed: Pushed, cluster: Cluster) -> None:
    pushed.repo.write("runs/quotes.yaml", SPEC)
    pushed.repo.commit()
    assert pushed.push(pushed.repo.start).code == 0
    name = pushed.job()["metadata"]["name"]
    pushed.launcher.end_pod(77)
    cluster.condition(pushed.launcher.namespace, name, "Failed")
    said = pushed.push(pushed.repo.start)
    assert said.code == 0 and f"again: {name}" in said.err
    assert pushed.job()["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (SPEC + "trainig: {}\n", "trainig"),
        (SPEC.replace("s3://models/team/a", "s3://models/other"), "publish.s3: s3://models/other is not allowed"),
        (SPEC.replace("publish:", "publish: {hub: {repo_id: else/where}}\nx:"), "runs/z.yaml"),
        (SPEC + "run: {store: 's3://else/where'}\n", "run.store"),
        ("- a list\n", "is not a mapping"),
    ],
)
def test_one_wrong_spec_fails_the_push_and_nothing_is_sent(pushed: Pushed, bad: str, said: str) -> None:
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.write("runs/z.yaml", bad)
    pushed.repo.commit()
    found = pushed.push(pushed.repo.start)
    assert found.code == 64 and said in found.err, found.err
    assert pushed.launcher.jobs() == [] and said in summary(pushed.repo)


def test_a_service_account_that_is_not_there_stops_a_push(pushed: Pushed) -> None:
    pushed.config["service_account"] = "nobody"
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    found = pushed.push(pushed.repo.start)
    assert found.code == 12 and "there is no serviceaccount nobody" in found.err
    assert pushed.launcher.jobs() == []


def test_a_quota_that_refuses_the_pods_stops_a_push_and_a_limit_in_the_configuration_meets_it(pushed: Pushed) -> None:
    space, core = pushed.launcher.namespace, pushed.launcher.cluster.core
    core.create_namespaced_resource_quota(space, {"metadata": {"name": "q"}, "spec": {"hard": {"limits.cpu": "8"}}})
    eventually(lambda: core.read_namespaced_resource_quota("q", space).status.hard, "the quota")
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    found = pushed.push(pushed.repo.start)
    assert found.code == 14 and "must specify limits.cpu" in found.err and pushed.launcher.jobs() == []
    pushed.config["cpu_limit"] = 4
    assert pushed.push(pushed.repo.start).code == 0
    (container,) = pushed.job()["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["cpu"] == "4"


def test_a_price_that_cannot_be_known_is_refused_where_there_is_a_limit(pushed: Pushed) -> None:
    pushed.config |= {"max_price": 5, "price_per_hour": 0.35}
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    found = pushed.push(pushed.repo.start)
    assert found.code == 64 and "its price is unknown" in found.err
    assert pushed.launcher.jobs() == []


def test_without_the_protected_configuration_nothing_is_sent(pushed: Pushed) -> None:
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    pushed.config = {}
    found = pushed.push(pushed.repo.start, FINETUNE_PUSH_CONFIG="")
    assert found.code == 16 and "FINETUNE_PUSH_CONFIG is not set" in found.err
    assert pushed.launcher.jobs() == []


def test_the_first_push_sends_nothing_and_says_so(pushed: Pushed) -> None:
    found = pushed.push(ZEROS)
    assert found.code == 0 and "This is the first push of the branch" in summary(pushed.repo)
    assert pushed.launcher.jobs() == []


def test_files_can_be_named_by_hand(pushed: Pushed) -> None:
    pushed.repo.write("runs/a.yaml", SPEC)
    commit = pushed.repo.commit()
    found = pushed.command("train", "--after", commit, "runs/a.yaml")
    assert found.code == 0, found.err
    assert pushed.job()["metadata"]["annotations"]["finetune-run/file"] == "runs/a.yaml"


def test_waiting_ends_with_the_runs_own_code(pushed: Pushed) -> None:
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    found: list[Said] = []
    thread = threading.Thread(target=lambda: found.append(pushed.push(pushed.repo.start, "--wait")))
    thread.start()
    pushed.launcher.end_pod(65, message="::error::rows are broken\n##[error]Mend them.")
    thread.join(timeout=60)
    assert found[0].code == 65 and "Mend them." in found[0].err, found[0].err
    assert "##[" not in found[0].out + found[0].err
    assert not any(line.strip().startswith("::") for line in (found[0].out + found[0].err).splitlines())
    assert "failed, exit code 65" in summary(pushed.repo)


def test_the_page_of_a_run_that_was_waited_for_has_its_files_its_loss_and_where_they_are(
    pushed: Pushed, s3: Bucket
) -> None:
    store = pushed.config["store"] = f"s3://{s3.bucket}/store"
    pushed.repo.write("runs/a.yaml", SPEC)
    pushed.repo.commit()
    assert pushed.push(pushed.repo.start).code == 0
    name = pushed.job()["metadata"]["name"]
    made = facts()
    files = [
        PublishedFile(name=file, key="k", type=kind, sha256=one.sha256, size=one.size) for file, kind, one in made.files
    ]
    about: dict[str, Any] = {"spec": {}, "sources": {}, "places": ["s3://models/team/a"]}
    manifest = Manifest(run=name, name="Tuned", stages=dict(made.records), files=files, **about)
    open_store(store).put(f"runs/{name}/manifest.json", manifest.model_dump_json().encode())
    pushed.launcher.end_pod(0)
    assert pushed.push(pushed.repo.start, "--wait").code == 0
    page = summary(pushed.repo)
    assert "complete after" in page and "- `s3://models/team/a`" in page
    assert "| `Tuned-Q4_K_M.gguf` | `Q4_K_M` | `105.0 MB` |" in page
    plot = page.split("```mermaid")[1].split("```")[0]
    assert 'x-axis "step" 1 --> 40' in plot and "line [3.0000, " in plot
