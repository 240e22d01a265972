"""Nothing secret gets through: neither what is shaped like a secret, nor what the environment calls one."""

import io
import json
import string
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from job import logs
from job.redaction import MASK, SECRET_SHAPES, redact, redact_all, secret_values

ALNUM = string.ascii_letters + string.digits


def made_of(signs: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(signs), min_size=least, max_size=most)


def shape(form: str, signs: str, least: int, most: int) -> st.SearchStrategy[tuple[str, str]]:
    """The text as it may stand in a log, and the part of it that nobody may read."""
    return made_of(signs, least, most).map(lambda part: (form.replace("%", part), part))


SHAPES = st.one_of(
    shape("hf_%", ALNUM, 20, 40),
    shape("AKIA%", string.ascii_uppercase + string.digits, 16, 16),
    shape("ghp_%", ALNUM, 36, 40),
    shape("github_pat_%", ALNUM + "_", 40, 80),
    shape("glpat-%", ALNUM, 20, 26),
    shape("sk-%", ALNUM, 20, 60),
    shape("xoxb-%", ALNUM, 20, 40),
    shape("AIza%", ALNUM, 35, 35),
    shape("eyJ%.eyJ%.%", ALNUM, 12, 40),
    shape("-----BEGIN RSA PRIVATE KEY-----\n%\n-----END RSA PRIVATE KEY-----", ALNUM + "+/\n", 16, 200),
    shape("https://user:%@example.com/x", ALNUM + "!$%&*-_.", 8, 30),
    shape("https://%@example.com/x", ALNUM, 8, 30),
    shape("s3://key:%@bucket/x", ALNUM + "@:", 8, 30),
    shape("https://b.s3.amazonaws.com/k?X-Amz-Signature=%&x=1", string.hexdigits, 16, 64),
    shape("https://h/x?a=1&token=%", ALNUM + "-._~%", 8, 40),
    shape("https://h/x?private_token=%", ALNUM + "-._~%", 8, 40),
    shape("Authorization: Bearer 1%", ALNUM + "-._~+/", 8, 40),
    shape("authorization: bearer %", ALNUM, 20, 40),
    shape("Authorization: Basic %", ALNUM + "+/", 8, 40),
    shape("AccountName=me;AccountKey=%;EndpointSuffix=core.windows.net", ALNUM + "+/", 40, 88),
    shape("Server=db;User=me;Password=%", ALNUM + "!$%&*-_.", 8, 30),
)
PROSE = st.text(st.characters(codec="utf-8", exclude_characters="@"), max_size=60)


@given(SHAPES, PROSE, PROSE)
def test_nothing_shaped_like_a_secret_survives_in_a_text(one: tuple[str, str], before: str, after: str) -> None:
    text, secret = one
    clean = redact(f"{before} {text} {after}", {})
    assert secret not in clean.replace(before, "").replace(after, "") and MASK in clean


def test_a_private_key_that_is_cut_off_is_hidden_to_the_end() -> None:
    assert redact("a -----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nmore", {}) == f"a {MASK}"


@given(SHAPES, PROSE)
def test_what_is_redacted_once_is_redacted(one: tuple[str, str], around: str) -> None:
    clean = redact(f"{around} {one[0]} {around}", {})
    assert redact(clean, {}) == clean


NAMES = [
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "aws_session_token",
    "DB_PASSWORD",
    "MY_API_KEY",
    "APIKEY",
    "SLACK_WEBHOOK",
    "DB_PASS",
    "MYSQL_PWD",
    "BLOB_SAS",
    "AZURE_STORAGE_CONNECTION_STRING",
    "SLACK_HOOK",
    "KAGGLE_KEY",
]
VALUES = st.text(st.characters(codec="utf-8"), min_size=8, max_size=60).filter(lambda text: len(text.strip()) >= 8)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1), PROSE)
@example({"HF_TOKEN": "abcdefgh", "DB_PASSWORD": "abcdefgh-and-more"}, "")
@example({"HF_TOKEN": "abcdefgh\n"}, "")
def test_no_value_of_a_secret_variable_survives(environ: dict[str, str], prose: str) -> None:
    values = [value.strip() for value in environ.values()]
    assume(not any(value in MASK or MASK in value for value in values))
    clean = redact(prose + prose.join(values), environ)
    assert not any(value in clean for value in values)


@given(st.text(st.sampled_from(string.ascii_lowercase + " .,:/-_"), max_size=200))
def test_plain_words_stay_as_they_are(text: str) -> None:
    assume(not SECRET_SHAPES.search(text))
    assert redact(text, {"PATH": text, "HOME": text, "HF_TOKEN": ""}) == text


@pytest.mark.parametrize(
    "text",
    [
        "meta-llama/Llama-2-7b-chat-hf", "my-risk-assessment-for-everyone-here", "s3://bucket/models/quotes",
        "https://example.com:8080/a?b=c", "hf_hub_download", "task-force-two-thousand-and-nine",
        "write to me@example.com", "a bearer instrument", "data=https://h/x?code=en",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    ],
)  # fmt: skip
def test_names_and_addresses_without_a_secret_stay_as_they_are(text: str) -> None:
    assert redact(text, {}) == text


def test_only_variables_whose_names_say_so_are_secret() -> None:
    environ = {
        "HF_TOKEN": "secret-1234",
        "TOKENIZERS_PARALLELISM": "false-false",
        "HF_TOKEN_PATH": "/var/run/token",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
        "FINETUNE__TRAINING__PAD_TOKEN": "<|finetune_pad|>",
        "FINETUNE__EVALUATION__MAX_NEW_TOKENS": "000000064",
        "FINETUNE__PUBLISH__HUB__TOKEN": "longer-secret-1234",
        "SHORT_SECRET": "1234567",
        "HOME": "/home/someone",
        "PWD": "/home/someone",
        "OLDPWD": "/home/someone",
        "SSH_ASKPASS": "/usr/bin/ask",
        "REDIS_AUTH_PORT": "tcp://10.0.0.1:6379",
    }
    assert secret_values(environ) == ["longer-secret-1234", "secret-1234"]


def test_the_process_environment_is_what_counts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_TOKEN", "canary-in-the-environment")
    assert redact("a canary-in-the-environment b") == f"a {MASK} b"


class Loud:
    """Something whose secret shows only when it is turned into text."""

    def __str__(self) -> str:
        return "Loud(hf_aaaaaaaaaaaaaaaaaaaaaaaaa)"


TOKEN = "hf_aaaaaaaaaaaaaaaaaaaaaaaaa"
NESTED = [
    TOKEN,
    {TOKEN: 1},
    [[TOKEN]],
    (TOKEN,),
    {TOKEN},
    Path("/tmp") / TOKEN,
    ValueError(TOKEN),
    Loud(),
    TOKEN.encode(),
]


@pytest.mark.parametrize("value", NESTED, ids=lambda value: type(value).__name__)
def test_secrets_are_found_in_whatever_holds_them(value: Any) -> None:
    clean = json.dumps(redact_all({"value": value}))
    assert TOKEN not in clean and MASK in clean


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", [1, "a"], {"a": {"b": [None]}}])
def test_what_has_no_secret_stays_what_it_is(value: Any) -> None:
    assert redact_all(value, {}) == value


@pytest.mark.parametrize("value", NESTED, ids=lambda value: type(value).__name__)
def test_a_log_line_shows_no_secret(value: Any) -> None:
    out = io.StringIO()
    seen: list[str] = []
    with redirect_stdout(out):
        logs.configure(lambda record: seen.append(str(record)))
        logs.log.info("canary", value=value, text=f"it is {TOKEN}")
        try:
            raise ValueError(TOKEN)
        except ValueError:
            logs.log.exception("canary.raised")
    assert "canary.raised" in out.getvalue() and len(seen) == 2
    assert TOKEN not in out.getvalue() and not any(TOKEN in line for line in seen)
