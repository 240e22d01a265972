"""The Job and its ConfigMap: what every run has, and the specs that it reads."""

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from job.errors import every_error
from job.spec.load import load
from k8s.errors import SettingsInvalid
from k8s.manifest.base import BASE
from k8s.manifest.render import Manifest, render
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import Index
from k8s.yaml_text import text_of
from tests.k8s.job_settings import EVERYTHING, annotations, pod_of, runs, settings, spec, variables
from tests.k8s.manifest.variants import T4, VARIANTS, each_variant

RELEASES = ("1.29", "1.34", "1.37")
"""The oldest that has all fields in use, the one of the tests' cluster, the newest that is known."""


def valid(found: Manifest) -> None:
    for one in found:
        for release in RELEASES:
            kubernetes_validate.validate(one, release, strict=True)


def test_the_case_with_everything_leaves_no_setting_at_its_default() -> None:
    left = {name for name, field in Settings.model_fields.items() if name not in EVERYTHING}
    assert left == {"name", "parallel", "http_proxy"}
    changed = settings(**EVERYTHING)
    assert all(getattr(changed, name) != Settings.model_fields[name].default for name in EVERYTHING)


@each_variant
def test_kubernetes_knows_every_field(found: Manifest) -> None:
    valid(found)


@each_variant
def test_what_is_written_and_read_again_is_the_same_and_has_no_aliases(found: Manifest) -> None:
    text = text_of(found)
    assert tuple(yaml.safe_load_all(text)) == tuple(found)
    assert "&id" not in yaml.safe_dump_all(found)


@pytest.mark.parametrize(("variant", "wrong"), [("plain", "FailJob"), ("sweep", "FailIndex")])
def test_the_failure_policy_says_what_the_table_of_errors_says(variant: str, wrong: str) -> None:
    rules = VARIANTS[variant].job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    means = {code: rule["action"] for rule in rules[1:] for code in rule["onExitCodes"]["values"]}
    kubernetes = {"FailJob": wrong, "Ignore": "Ignore"}
    assert means == {one.code: kubernetes[one.kubernetes] for one in every_error() if one.kubernetes != "Count"}
    container = pod_of(VARIANTS[variant])["containers"][0]["name"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {container}


def test_a_run_is_retried_six_times_and_an_index_by_itself() -> None:
    single, sweep = VARIANTS["plain"].job["spec"], VARIANTS["sweep"].job["spec"]
    assert single["backoffLimit"] == 6 and "backoffLimitPerIndex" not in single
    assert sweep["backoffLimitPerIndex"] == 6 and not {"backoffLimit", "maxFailedIndexes"} & set(sweep)
    assert (sweep["completionMode"], sweep["completions"], sweep["parallelism"]) == ("Indexed", 3, 2)
    for one in (single, sweep):
        assert one["podReplacementPolicy"] == "Failed" and one["template"]["spec"]["restartPolicy"] == "Never"
        assert one["activeDeadlineSeconds"] >= 7 * 24 * 3600


def test_annotations_of_the_user_replace_those_of_the_job() -> None:
    evict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    assert annotations(render(settings(), spec()))[evict] == "false"
    assert annotations(render(settings(annotations={evict: "true"}), spec()))[evict] == "true"


def test_the_config_map_never_changes_and_its_name_says_what_is_in_it() -> None:
    first, other = render(settings(), spec()), render(settings(), spec(run={"seed": 7}))
    assert first.config_map["immutable"] is True
    assert first.config_map["metadata"]["name"] != other.config_map["metadata"]["name"]
    assert {"name": "spec", "configMap": {"name": first.config_map["metadata"]["name"]}} in pod_of(first)["volumes"]
    assert render(settings(), spec()) == first


def test_the_job_reads_the_very_spec_that_was_given(tmp_path: Any) -> None:
    given_spec = spec(
        training=None, export={"types": ["Q4_K_M", "q8_0"]}, chat={"system": "012", "template": "off {{ messages }}"}
    )
    file = tmp_path / "spec.json"
    file.write_text(render(settings(), given_spec).config_map["data"]["spec.json"])
    assert load(file, {}) == given_spec


def test_each_index_reads_its_own_spec_and_has_its_own_run() -> None:
    found = VARIANTS["sweep"]
    assert [json.loads(found.config_map["data"][f"spec-{n}.json"])["lora"]["r"] for n in range(3)] == [1, 2, 3]
    names = list(variables(found))
    assert variables(found)["FINETUNE_SPEC"].endswith("spec-$(JOB_COMPLETION_INDEX).json")
    assert variables(found)["FINETUNE_JOB_NAME"] == "$(JOB_NAME)-$(JOB_COMPLETION_INDEX)"
    assert max(names.index("JOB_NAME"), names.index("JOB_COMPLETION_INDEX")) < names.index("FINETUNE_SPEC")


def test_the_run_is_named_by_its_job() -> None:
    path = variables(VARIANTS["plain"])["FINETUNE_JOB_NAME"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/job-name']"


def test_labels_of_the_run_win_over_the_users() -> None:
    assert VARIANTS["everything"].job["metadata"]["labels"]["app.kubernetes.io/name"] == "finetune-run"
    assert VARIANTS["everything"].job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert VARIANTS["everything"].job["spec"]["suspend"] is True


def test_a_sweep_that_does_not_fit_into_a_config_map_is_refused() -> None:
    long = Index(changes={}, spec=spec(chat={"system": "x" * 20_000}))
    with pytest.raises(SettingsInvalid, match="do not fit"):
        render(settings(), spec(), [long] * 60)


def test_rendering_leaves_the_constants_as_they_are() -> None:
    before = json.dumps(BASE)
    render(settings(**EVERYTHING), spec(), runs(2))
    assert json.dumps(BASE) == before


def test_nothing_of_a_sweeps_job_is_of_the_spec_that_its_runs_were_made_from() -> None:
    sweep = [Index(changes={"model.id": one}, spec=spec(model={"id": one})) for one in ("a/b", "c/d", "a/b")]
    none_has_it = spec(
        model={"id": "none/has-it", "revision": "x"}, training=None, chat={"system": "x"}, load={"bits": 16},
        lora={"r": 3}, export={"types": ["q2_k"]}, publish={"name": "x"}, evaluation={"judge": False},
    )  # fmt: skip
    made = settings(placement=T4, store_pvc="runs")
    assert render(made, none_has_it, sweep) == render(made, spec(), sweep)
    assert render(made, spec(), sweep).job["metadata"]["annotations"]["finetune-run/model"] == "a/b, c/d"


def test_values_that_do_not_fit_into_annotations_are_refused_here() -> None:
    sweep = [Index(changes={"chat.system": "x" * 5000}, spec=spec()) for _ in range(50)]
    with pytest.raises(SettingsInvalid, match="do not fit into the Job's annotations"):
        render(settings(), spec(), sweep)


def test_a_sweeps_runs_can_be_read_back_from_the_job() -> None:
    text = VARIANTS["sweep"].job["metadata"]["annotations"]["finetune-run/sweep"]
    assert json.loads(text) == [{"lora.r": 1}, {"lora.r": 2}, {"lora.r": 3}]
