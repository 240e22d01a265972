"""The part of a Job that does not depend on settings: a constant, of which the chart has a copy.

Sources: the Job's documentation (pod failure policy, backoff limit per index, pod replacement policy) and the Pod
Security Standards, profile `restricted`.
"""

from typing import Any

from job.errors import every_error
from job.node_disk import LIMIT as DISK_LIMIT
from job.predict.deadline import WEEK_S
from k8s.placement.nodes import MACHINE

CONTAINER = "finetune"
SPEC_FOLDER, WORK, CACHE, STORE, CA_FOLDER = "/etc/finetune-run", "/work", "/cache", "/store", "/etc/finetune-run-ca"
INPUTS, INPUTS_FILE = "FINETUNE_INPUTS", "inputs.tar.gz"
VOLUMES = ("spec", "work", "cache", "tmp", "shm")
"""Labels of every run."""
RETRIES = 6
"""Pods that may fail before the Job ends, as in Kubernetes' own default. A reboot, a pod that a node refuses
(UnexpectedAdmissionError) and a stop without a DisruptionTarget count."""


def failure_policy(wrong: str) -> dict[str, Any]:
    """The action for each exit code, from the table of errors. `wrong` (FailJob or FailIndex): if a retry cannot help.

    Disruptions come first: an evicted or preempted pod is not counted, whatever its exit code.
    """
    rules: list[dict[str, Any]] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    for action, name in (("FailJob", wrong), ("Ignore", "Ignore")):
        codes = [error.code for error in every_error() if error.kubernetes == action]
        on = {"containerName": CONTAINER, "operator": "In", "values": codes}
        rules.append({"action": name, "onExitCodes": on})
    return {"rules": rules}


def _env(**values: str) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE")

BASE: dict[str, Any] = {
    "labels": {"app.kubernetes.io/name": "finetune-run", "app.kubernetes.io/component": "run"},
    # Cluster autoscaler and Karpenter keep the node while the run is on it. The user's annotations replace them.
    "podAnnotations": {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    },
    "deadlineSeconds": WEEK_S,  # of each run of the Job, if nothing else is known (job/predict/deadline.py)
    "job": {"podReplacementPolicy": "Failed"},
    "single": {"backoffLimit": RETRIES, "podFailurePolicy": failure_policy("FailJob")},
    # No backoffLimit and no maxFailedIndexes: failed indexes would count towards them and end the others.
    "sweep": {
        "completionMode": "Indexed",
        "backoffLimitPerIndex": RETRIES,
        "podFailurePolicy": failure_policy("FailIndex"),
    },
    "pod": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": MACHINE,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    },
    "container": {
        "name": CONTAINER,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True},
            {"name": "work", "mountPath": WORK},
            {"name": "cache", "mountPath": CACHE},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    },
    "env": [
        {"name": DISK_LIMIT, "valueFrom": {"resourceFieldRef": {"resource": "limits.ephemeral-storage"}}},
        *_env(
            FINETUNE_WORK=WORK,
            HOME=f"{WORK}/home",
            USER="finetune",
            LOGNAME="finetune",
            XDG_CACHE_HOME=CACHE,
            HF_HOME=f"{CACHE}/huggingface",
            TRITON_CACHE_DIR=f"{CACHE}/triton",
            TORCHINDUCTOR_CACHE_DIR=f"{CACHE}/torchinductor",
            HF_HUB_DISABLE_TELEMETRY="1",
        ),
    ],
    "singleEnv": [
        *_env(FINETUNE_SPEC=f"{SPEC_FOLDER}/spec.json"),
        _field("FINETUNE_JOB_NAME", "metadata.labels['batch.kubernetes.io/job-name']"),
    ],
    # A variable can only refer to earlier ones, so the index comes first; the Job controller does not change it.
    "sweepEnv": [
        _field("JOB_COMPLETION_INDEX", "metadata.annotations['batch.kubernetes.io/job-completion-index']"),
        _field("JOB_NAME", "metadata.labels['batch.kubernetes.io/job-name']"),
        *_env(
            FINETUNE_SPEC=f"{SPEC_FOLDER}/spec-$(JOB_COMPLETION_INDEX).json",
            FINETUNE_JOB_NAME="$(JOB_NAME)-$(JOB_COMPLETION_INDEX)",
        ),
    ],
    # A missing GPU that was requested ends the run before anything is downloaded (job/gpu_faults.py).
    "gpuEnv": _env(FINETUNE_GPU="required"),
    "storeEnv": _env(FINETUNE__RUN__STORE=STORE),
    # What goes along in the ConfigMap is unpacked by the job (job/fetch/inputs.py).
    "inputsEnv": _env(**{INPUTS: f"{SPEC_FOLDER}/{INPUTS_FILE}"}),
    "caEnv": _env(**dict.fromkeys(_CA_VARIABLES, f"{CA_FOLDER}/ca.crt")),
}
"""`single` or `sweep` is merged into `job`, `singleEnv` or `sweepEnv` into `env`; the others are used where they
apply."""
