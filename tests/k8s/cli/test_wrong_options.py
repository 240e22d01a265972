"""What is wrong with a command line is said before the cluster is asked for, so it is said without one too."""

import sys
from typing import Any, NamedTuple

import pytest

from k8s.launch import main

RUN = ["--model", "/no/such/model", "--dataset", "/rows.jsonl"]
"""A run of which nothing is predicted: no network is asked."""


class Said(NamedTuple):
    code: int
    error: str


@pytest.fixture
def without_a_cluster(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    monkeypatch.setenv("FINETUNE_IMAGE", "registry.example/finetune-run:1")

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["finetune-run", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(int(ended.value.code or 0), " ".join(capsys.readouterr().err.split()))

    return run


WRONG = [
    (["--gpu", "t5"], 16, "--gpu: 't5' is not known"),
    (["--gpu", "t4", "--platform", "gcp"], 16, "--platform: 'gcp' is not known"),
    (["--gpu", "a100", "--mig", "big"], 16, "--mig: 'big'"),
    (["--gpu", "t4", "--mig", "1g.5gb"], 16, "this GPU has no MIG"),
    (["--gpu", "t4", "--toleration", "a:b"], 16, "--toleration: 'a:b'"),
    (["--gpu", "t4", "--gpu-label", "x"], 16, "Write key=value, or key=value1,value2."),
    (["--gpu", "t4", "--platform", "gfd", "--spot"], 16, "the label of spot nodes is unknown"),
    (["--gpu", "t4", "--set", "lora.r=none"], 64, "lora.r"),
    (["--gpu", "t4", "--set", "lora.r"], 2, "--set: 'lora.r'"),
]


@pytest.mark.parametrize("command", ["launch", "plan"])
@pytest.mark.parametrize(("options", "code", "words"), WRONG, ids=lambda value: str(value))
def test_a_wrong_option_is_named_before_a_missing_cluster(
    without_a_cluster: Any, command: str, options: list[str], code: int, words: str
) -> None:
    said = without_a_cluster(command, *RUN, *options)
    assert said.code == code and words in said.error and "cluster is configured" not in said.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sweep", "lora.r"], "--sweep: 'lora.r'"),
        (["--sweep", "lora.r="], "lora.r has no values"),
        (["--sweep", "run.id=a,b"], "run.id is the same for all runs of a sweep"),
        (["--sweep", "model.id=a/b,c/d"], "model.id is set by --model and by --sweep"),
        (["--set", "lora.r=4", "--sweep", "lora.r=8,16"], "lora.r is set by --set and by --sweep"),
        (["--set", "model.id=a/b"], "model.id is set by --set and by --model"),
        (["--parallel", "4"], "--parallel is for a sweep"),
        (["--scratch-class", "fast"], "--scratch-class is for a volume"),
        (["--wait", "--follow"], "leave one of them out"),
        (["--timeout", "9"], "--timeout is for waiting"),
        (["--wait", "-o", "json"], "--output is for a run that is not waited for"),
        (["--dry-run", "-o", "json"], "--output is for a run"),
        (["--price", "1", "--price-file", "/prices.yaml"], "--price and --price-file say the same thing"),
        (["--deadline", "0"], "deadline_s:"),
        (["--env", "A=1", "--env", "A=2"], "--env: A is given twice"),
        (["--secret-file", "s=/a", "--secret-file", "s=/b"], "--secret-file: s is given twice"),
        (["--gpu", "none", "--spot"], "--gpu none is the CPU, and --spot is for a GPU"),
        (["--gpu", "none", "--mig", "1g.5gb", "--shared"], "--shared, --mig are for a GPU"),
        (["--label", "team"], "--label: 'team'"),
        (["--env", "A=b", "--env", "FINETUNE_SPEC=x"], "FINETUNE_SPEC is set by the Job itself"),
        (["--image", "NOT AN IMAGE"], "image:"),
        (["--image", "finetune-run:0.1.0"], "finetune-run:0.1.0 names no registry"),
        (["--image", "owner/finetune-run:0.1.0"], "docker.io/owner/finetune-run"),
        (["--image", "YOUR-REGISTRY/finetune-run:0.1.0"], "YOUR-REGISTRY"),
        (["--memory", "much"], "--memory: 'much'"),
        (["--cpu", "0"], "resources.cpu:"),
        (["--namespace", "Mine"], "namespace:"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_setting_is_named_before_a_missing_cluster(
    without_a_cluster: Any, options: list[str], words: str
) -> None:
    said = without_a_cluster("launch", *RUN, "--gpu", "t4", *options)
    assert said.code == 16 and words in said.error and "cluster is configured" not in said.error


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--image", "localhost/finetune-run:1"],
        ["--image", "10.0.0.1:5000/finetune-run"],
        ["--pull-policy", "Never", "--image", "finetune-run:1"],
    ],
    ids=str,
)
def test_what_is_right_needs_the_cluster(without_a_cluster: Any, options: list[str]) -> None:
    said = without_a_cluster("launch", *RUN, "--gpu", "t4", *options)
    assert said.code == 10 and "no cluster is configured" in said.error


@pytest.mark.parametrize(
    ("options", "code"), [([], 16), (["--dry-run", "--platform", "gke"], 16), (["--pull-policy", "Never"], 10)]
)
def test_without_an_image_nothing_is_sent_unless_it_is_never_pulled(
    without_a_cluster: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int
) -> None:
    monkeypatch.delenv("FINETUNE_IMAGE")
    said = without_a_cluster("launch", *RUN, "--gpu", "t4", *options)
    assert said.code == code and ("no image is named" in said.error) == (code == 16)
