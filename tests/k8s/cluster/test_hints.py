"""Advice behind the cluster's own messages: each kind of message has its own, in words that a cluster uses."""

import pytest

from k8s.cluster.waiting import with_hint


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ('MountVolume.SetUp failed for volume "x" : secret "tokens" not found', "Create the Secret tokens in this"),
        ('MountVolume.SetUp failed for volume "ca" : configmap "company-ca" not found', "the configmap company-ca, or"),
        ('persistentvolumeclaim "runs" not found', "Create the persistentvolumeclaim runs, or name another one."),
        ('pod rejected: RuntimeClass "nvidia" not found', "Create the RuntimeClass nvidia, or name another one."),
        ('error looking up service account a/b: serviceaccount "b" not found', "Create the serviceaccount b, or name"),
        ('failed to pull image "r.example/x:1": r.example/x:1: not found', "Check the image's name, and that it was"),
        ('Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) a-b', "when that pod has ended."),
        ("failed quota: q: must specify limits.cpu for: finetune", "Set --cpu-limit (in the chart:"),
    ],
)  # fmt: skip
def test_a_message_gets_the_advice_for_its_kind(message: str, advice: str) -> None:
    assert with_hint(message).startswith(f"{message}. ") and advice in with_hint(message)


def test_a_message_of_no_known_kind_stands_alone() -> None:
    assert with_hint("0/3 nodes are  available") == "0/3 nodes are available"
