"""The Job and its ConfigMap: what every run has, what settings change, and what never gets in."""

import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from job.errors import every_error
from job.spec import JobSpec
from job.spec_file import load
from k8s.errors import SettingsInvalid
from k8s.job_base import BASE
from k8s.manifest import MOST_INDEXES, Manifest, amount, render
from k8s.names import LONGEST, job_name, slug
from k8s.placement import place
from k8s.settings import GIB, Reference, Resources, Scratch, Settings
from k8s.sweep import Index
from k8s.wish import Wish
from k8s.yaml_text import text_of
from tests.clusters import whole

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
RELEASES = ("1.29", "1.34", "1.37")
"""The oldest that has all fields in use, the one of the tests' cluster, the newest that is known."""


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "owner/model"}, "dataset": {"id": "owner/rows"}, **sections})


def settings(**values: Any) -> Settings:
    return Settings.of(**{"image": "registry.example/finetune-run:1", "name": "quotes-12345678"} | values)


EVERYTHING: dict[str, Any] = {
    "image": f"registry.example:5000/team/finetune-run@sha256:{'a' * 64}",
    "namespace": "training",
    "placement": place(Wish.of("t4", spot=True, platform="aks"), None),
    "resources": Resources(cpu=3.5, memory=11 * GIB, disk=50 * GIB + 1),
    "pull_policy": "Always",
    "pull_secrets": ("registry",),
    "env": {"AWS_ENDPOINT_URL": "https://s3.example", "HF_HOME": "/cache/elsewhere"},
    "env_secrets": ("s3-keys",),
    "secret_env": {"HF_TOKEN": Reference(name="hub", key="token")},
    "secret_files": {"aws-profile": "/secrets/aws"},
    "store_pvc": "runs",
    "cache_pvc": "models",
    "scratch": Scratch(size=200 * GIB, storage_class="fast"),
    "service_account": "trainer",
    "priority_class": "batch",
    "runtime_class": "nvidia",
    "queue": "team-a",
    "suspend": True,
    "labels": {"team": "nlp", "app.kubernetes.io/name": "mine"},
    "annotations": {"example.com/owner": "nlp"},
    "https_proxy": "http://proxy.example:3128",
    "no_proxy": "10.0.0.0/8",
    "ca": Reference(name="company-ca", key="bundle.pem"),
    "user": None,
    "grace_s": 25,
    "deadline_s": 3600,
    "ttl_s": 600,
}
"""Every setting off its default (but the name, and `parallel`, which is a sweep's)."""


def runs(number: int) -> tuple[Index, ...]:
    return tuple(Index(changes={"lora.r": n + 1}, spec=spec(lora={"r": n + 1})) for n in range(number))


def valid(found: Manifest) -> None:
    for one in found:
        for release in RELEASES:
            kubernetes_validate.validate(one, release, strict=True)


def pod_of(found: Manifest) -> dict[str, Any]:
    pod: dict[str, Any] = found.job["spec"]["template"]["spec"]
    return pod


def variables(found: Manifest) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in pod_of(found)["containers"][0]["env"]}


TWISTED = (
    "y",
    "off",
    "012",
    "0o12",
    "1e3",
    "2e-4",
    "~",
    "null",
    "<<",
    "=",
    "2026-01-01",
    "1_000",
    "0x1f",
    ".inf",
    "1:30",
)
"""Texts that one of YAML 1.1, 1.2 and the readers in Go takes for something else where they are not quoted."""

VARIANTS = {
    "plain": render(settings(), spec()),
    "everything": render(settings(**EVERYTHING), spec()),
    "sweep": render(settings(parallel=2), spec(), runs(3)),
    "sweep with everything": render(settings(**EVERYTHING, parallel=8), spec(), runs(3)),
}
each_variant = pytest.mark.parametrize("found", VARIANTS.values(), ids=VARIANTS.keys())


def test_the_case_with_everything_leaves_no_setting_at_its_default() -> None:
    left = {name for name, field in Settings.model_fields.items() if name not in EVERYTHING}
    assert left == {"name", "parallel", "http_proxy"}
    changed = settings(**EVERYTHING)
    assert all(getattr(changed, name) != Settings.model_fields[name].default for name in EVERYTHING)


@each_variant
def test_kubernetes_knows_every_field(found: Manifest) -> None:
    valid(found)


@each_variant
def test_the_pod_is_within_pod_security_restricted(found: Manifest) -> None:
    pod, container = pod_of(found), pod_of(found)["containers"][0]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"].get("runAsUser", 1) > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    secure = container["securityContext"]
    assert secure["allowPrivilegeEscalation"] is False and secure["capabilities"] == {"drop": ["ALL"]}
    assert secure["readOnlyRootFilesystem"] is True and "privileged" not in secure
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "ephemeral", "projected"}
    assert pod["automountServiceAccountToken"] is False


@each_variant
def test_what_a_pod_can_fill_is_bounded(found: Manifest) -> None:
    limits = pod_of(found)["containers"][0]["resources"]["limits"]
    assert {"memory", "ephemeral-storage"} <= set(limits)
    bounds = [one["emptyDir"].get("sizeLimit") for one in pod_of(found)["volumes"] if "emptyDir" in one]
    assert bounds and all(bounds)


@each_variant
def test_what_is_written_and_read_again_is_the_same_and_has_no_aliases(found: Manifest) -> None:
    text = text_of(found)
    assert tuple(yaml.safe_load_all(text)) == tuple(found)
    assert "&id" not in yaml.safe_dump_all(found)


@each_variant
def test_every_mount_has_its_volume_and_every_volume_is_mounted_once(found: Manifest) -> None:
    volumes = [one["name"] for one in pod_of(found)["volumes"]]
    mounts = [one["name"] for one in pod_of(found)["containers"][0]["volumeMounts"]]
    paths = [one["mountPath"] for one in pod_of(found)["containers"][0]["volumeMounts"]]
    assert sorted(volumes) == sorted(mounts) and len(set(paths)) == len(paths)


@pytest.mark.parametrize(("variant", "wrong"), [("plain", "FailJob"), ("sweep", "FailIndex")])
def test_the_failure_policy_says_what_the_table_of_errors_says(variant: str, wrong: str) -> None:
    rules = VARIANTS[variant].job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    means = {code: rule["action"] for rule in rules[1:] for code in rule["onExitCodes"]["values"]}
    kubernetes = {"FailJob": wrong, "Ignore": "Ignore"}
    assert means == {one.code: kubernetes[one.kubernetes] for one in every_error() if one.kubernetes != "Count"}
    container = pod_of(VARIANTS[variant])["containers"][0]["name"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {container}


def test_a_run_is_retried_three_times_and_an_index_by_itself() -> None:
    single, sweep = VARIANTS["plain"].job["spec"], VARIANTS["sweep"].job["spec"]
    assert single["backoffLimit"] == 3 and "backoffLimitPerIndex" not in single
    assert sweep["backoffLimitPerIndex"] == 3 and not {"backoffLimit", "maxFailedIndexes"} & set(sweep)
    assert (sweep["completionMode"], sweep["completions"], sweep["parallelism"]) == ("Indexed", 3, 2)
    for one in (single, sweep):
        assert one["podReplacementPolicy"] == "Failed" and one["template"]["spec"]["restartPolicy"] == "Never"
        assert one["activeDeadlineSeconds"] >= 7 * 24 * 3600


def test_the_config_map_never_changes_and_its_name_says_what_is_in_it() -> None:
    first, other = render(settings(), spec()), render(settings(), spec(run={"seed": 7}))
    assert first.config_map["immutable"] is True
    assert first.config_map["metadata"]["name"] != other.config_map["metadata"]["name"]
    assert {"name": "spec", "configMap": {"name": first.config_map["metadata"]["name"]}} in pod_of(first)["volumes"]
    assert render(settings(), spec()) == first


def test_the_job_reads_the_very_spec_that_was_given(tmp_path: Any) -> None:
    given_spec = spec(training=None, export={"types": ["Q4_K_M", "q8_0"]}, chat={"system": "off", "template": "012"})
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


def test_a_store_on_a_volume_is_used_unless_the_spec_names_another() -> None:
    assert variables(render(settings(store_pvc="runs"), spec()))["FINETUNE__RUN__STORE"] == "/store"
    named = spec(run={"store": "s3://bucket/runs"})
    assert "FINETUNE__RUN__STORE" not in variables(render(settings(store_pvc="runs"), named))


def test_the_gpu_is_asked_for_under_its_own_name_and_not_on_the_cpu() -> None:
    one = place(Wish.of("t4"), [whole("gfd", "t4")])
    assert (
        pod_of(render(settings(placement=one), spec()))["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    )
    assert "affinity" in pod_of(render(settings(placement=one), spec()))
    cpu = pod_of(VARIANTS["plain"])
    assert "affinity" not in cpu and not any("nvidia" in name for name in cpu["containers"][0]["resources"]["limits"])


def test_a_variable_that_the_user_sets_wins_and_those_of_the_job_cannot_be_set() -> None:
    assert variables(VARIANTS["everything"])["HF_HOME"] == "/cache/elsewhere"
    with pytest.raises(SettingsInvalid, match="FINETUNE_SPEC"):
        settings(env={"FINETUNE_SPEC": "/elsewhere"})


def test_proxies_and_certificates_reach_every_library() -> None:
    found = variables(VARIANTS["everything"])
    assert found["https_proxy"] == found["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert found["SSL_CERT_FILE"] == found["AWS_CA_BUNDLE"] == "/etc/finetune-run-ca/ca.crt"


def test_labels_of_the_run_win_over_the_users() -> None:
    assert VARIANTS["everything"].job["metadata"]["labels"]["app.kubernetes.io/name"] == "finetune-run"
    assert VARIANTS["everything"].job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert VARIANTS["everything"].job["spec"]["suspend"] is True


SECRET = "hf_" + "A1b2C3d4" * 4


@pytest.mark.parametrize(
    "values",
    [
        {"env": {"SOMETHING": SECRET}},
        {"env": {"HF_TOKEN": "not-shaped-like-one"}},
        {"env": {"AWS_SECRET_ACCESS_KEY": "abcdefgh12345678"}},
        {"https_proxy": "http://user:secretword@proxy.example:3128"},
        {"annotations": {"note": SECRET}},
    ],
)
def test_a_secret_in_the_settings_is_refused_and_not_repeated(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        settings(**values)
    text = str(refusal.value)
    assert not any(word in text for word in (SECRET, "not-shaped", "abcdefgh", "secretword"))


def test_a_secret_in_the_spec_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="secret"):
        render(settings(), spec(chat={"system": SECRET}))


def test_secrets_are_only_named() -> None:
    found = variables(VARIANTS["everything"])
    assert found["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert pod_of(VARIANTS["everything"])["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]


@pytest.mark.parametrize(
    "values",
    [
        {"image": "has blanks"},
        {"name": "Upper"},
        {"name": "a" * (LONGEST + 1)},
        {"labels": {"team": "white space"}},
        {"labels": {"-bad": "x"}},
        {"secret_files": {"s": "/work/x"}},
        {"secret_files": {"s": "relative"}},
        {"env": {"A B": "x"}},
        {"env": {"HF_X": "x"}, "secret_env": {"HF_X": {"name": "a", "key": "b"}}},
        {"resources": {"memory": 5}},
        {"unknown": 1},
    ],
)
def test_settings_that_the_cluster_would_refuse_are_refused_here(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        settings(**values)


def test_a_sweep_that_does_not_fit_into_a_config_map_is_refused() -> None:
    long = Index(changes={}, spec=spec(chat={"system": "x" * 20_000}))
    with pytest.raises(SettingsInvalid, match="do not fit"):
        render(settings(), spec(), [long] * 60)


def test_rendering_leaves_the_constants_as_they_are() -> None:
    before = json.dumps(BASE)
    render(settings(**EVERYTHING), spec(), runs(2))
    assert json.dumps(BASE) == before


@given(title=st.text(max_size=200), salt=st.text(max_size=5))
def test_any_title_gives_a_name_that_leaves_room_for_the_index(title: str, salt: str) -> None:
    name = job_name(title, [spec()], salt)
    assert len(name) <= LONGEST and re.match("[a-z]", name)
    assert DNS_LABEL.fullmatch(f"{name}-{MOST_INDEXES - 1}-xxxxx")


def test_the_same_run_has_the_same_name_and_another_spec_another() -> None:
    assert job_name("Quotes", [spec()]) == job_name("Quotes", [spec(run={"seed": 42})])
    assert len({job_name("Quotes", [spec()], salt) for salt in ("", "1", "2")}) == 3
    assert job_name("Quotes", [spec()]) != job_name("Quotes", [spec(run={"seed": 7})])


@given(text=st.text(max_size=80), longest=st.integers(4, 60))
def test_a_slug_is_a_name_for_kubernetes(text: str, longest: int) -> None:
    found = slug(text, longest)
    assert DNS_LABEL.fullmatch(found) and len(found) <= longest


WORDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,70}[A-Za-z0-9])?", fullmatch=True) | st.text(max_size=8)


@given(
    labels=st.dictionaries(st.from_regex(r"[a-z]{1,10}/[A-Za-z0-9]{1,20}", fullmatch=True) | WORDS, WORDS, max_size=2),
    annotations=st.dictionaries(WORDS, st.text(max_size=20), max_size=2),
    env=st.dictionaries(st.from_regex(r"[A-Z_]{1,10}", fullmatch=True) | WORDS, st.text(max_size=10), max_size=2),
)
@example(labels={"team": "nlp"}, annotations={"a/b": "off"}, env={"A": "y"})
def test_settings_are_refused_or_give_objects_that_kubernetes_knows(
    labels: dict[str, str], annotations: dict[str, str], env: dict[str, str]
) -> None:
    try:
        chosen = settings(labels=labels, annotations=annotations, env=env)
    except SettingsInvalid:
        return
    found = render(chosen, spec())
    kubernetes_validate.validate(found.job, RELEASES[1], strict=True)
    metadata = found.job["spec"]["template"]["metadata"]
    for key in (*metadata["labels"], *metadata["annotations"]):
        assert re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", key.rpartition("/")[2], re.ASCII)
    for value in metadata["labels"].values():
        assert value == "" or re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", value, re.ASCII)
    assert tuple(yaml.safe_load_all(text_of(found))) == tuple(found)


@pytest.mark.parametrize("text", TWISTED)
def test_words_that_yaml_1_1_twists_arrive_as_they_are(text: str) -> None:
    found = render(settings(env={"A": text}, annotations={"a/b": text}), spec())
    written = text_of(found)
    assert tuple(yaml.safe_load_all(written)) == tuple(found)
    assert f'value: "{text}"' in written


@given(st.integers(1, 1 << 50))
def test_amounts_are_never_less_than_what_is_needed(count: int) -> None:
    text = amount(count)
    given_bytes = int(text[:-2]) << {"Mi": 20, "Gi": 30}[text[-2:]]
    assert count <= given_bytes < count + (1 << 20)


def test_a_sweeps_runs_can_be_read_back_from_the_job() -> None:
    text = VARIANTS["sweep"].job["metadata"]["annotations"]["finetune-run/sweep"]
    assert json.loads(text) == [{"lora.r": 1}, {"lora.r": 2}, {"lora.r": 3}]
