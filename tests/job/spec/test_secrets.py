"""A secret in a spec is refused, and never repeated."""

from typing import Any

import pytest

from tests.job.spec.refusals import BASE, refused

CANARY = "hf_CanaryCanaryCanaryCanary0123456"
RANDOM_KEY = "wJalrXUtnFEMIK7MDENGbPxRfiCYzEXAMPLEKEY4"
SECRETS = [
    ("model: {id: %s}\ndataset: {id: a/b}", CANARY, "model.id"),
    ("model: {id: a/b, token: %s}\ndataset: {id: a/b}", "hunter2!", "model.token"),
    (BASE + "hf_token: %s", "hunter2!", "hf_token"),
    (BASE + "publish: {hub: {repo_id: a/b, api_key: [%s]}}", "hunter2!", "publish.hub.api_key"),
    (BASE + "auth: {password: %s}", "hunter2!", "auth.password"),
    (BASE + "aws: {accessKeyId: %s}", "hunter2!", "aws.accessKeyId"),
    (BASE + "publish: {s3: 's3://user:%s@bucket/x'}", "hunter2!", "publish.s3"),
    ("model: {id: a/b}\ndataset: {id: 'https://h/x.csv?X-Amz-Signature=%s'}", "0123abcd", "dataset.id"),
    ("model: {id: a/b}\ndataset: {id: 'https://%s@h/x.csv'}", "hunter2!", "dataset.id"),
    (BASE + 'chat: {system: "-----BEGIN PRIVATE KEY-----\\n%s"}', "MIIEvQIBADAN", "chat.system"),
    (BASE + "lora: {target_modules: [q_proj, %s]}", "AKIAABCDEFGHIJKLMNOP", "lora.target_modules.1"),
    (BASE + "%s: 1", CANARY, "[redacted]"),
    (BASE + "run: {id: %s}", "of-the-environment", "run.id"),
    (BASE + "run: {store: s3://bucket/of-the-environment/%s}", "x", "run.store"),
]


@pytest.mark.parametrize(("text", "secret", "place"), SECRETS)
def test_a_secret_in_a_spec_is_refused_and_not_repeated(write: Any, text: str, secret: str, place: str) -> None:
    said = refused(write(text % secret), {"MY_SECRET": "of-the-environment"})
    line = next(line for line in said.splitlines() if "[not shown]" in line)
    assert place in line and "HF_TOKEN" in line and "AWS_ACCESS_KEY_ID" in line
    assert secret not in said.replace("docs/spec.md", "").replace("copied into", "") or secret == "x"
    assert "of-the-environment" not in said


def test_a_secret_in_a_variable_is_refused_and_not_repeated(write: Any) -> None:
    said = refused(write(BASE), {"FINETUNE__PUBLISH__HUB__TOKEN": "hunter2!", "FINETUNE__CHAT__SYSTEM": CANARY})
    assert "publish.hub.token (FINETUNE__PUBLISH__HUB__TOKEN): [not shown]" in said
    assert "hunter2!" not in said and CANARY not in said


BROKEN = ["a: 1\n%s: 1\n%s: 2\n", "a: *%s\n", "a: 1\na: %s\n", "[%s", "a: @%s\n", "x: !!%s y\n", "a: '%s", "model: %s"]


@pytest.mark.parametrize("text", [*BROKEN, BASE + "run: {seed: %s}\n", BASE + "training: {optim: [%s]}\n"])
@pytest.mark.parametrize("secret", [CANARY, "AKIAABCDEFGHIJKLMNOP"])
def test_a_secret_in_a_broken_file_is_not_repeated(write: Any, text: str, secret: str) -> None:
    assert secret not in refused(write(text.replace("%s", secret)))


def test_what_looks_like_a_key_of_no_known_shape_is_not_repeated(write: Any) -> None:
    assert RANDOM_KEY not in refused(
        write(BASE + f"run: {{seed: {RANDOM_KEY}}}\nlora: {{target_modules: {RANDOM_KEY}}}")
    )


def test_a_tokenizers_words_are_no_secrets(write: Any) -> None:
    said = refused(write(BASE + "training: {eos_token: </s>, pad_token: </s>}"))
    assert "training.eos_token" in said and "[not shown]" not in said and "1 fault:" in said
