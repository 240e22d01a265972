"""Deployment settings: what is refused, what never gets out, and what any of them gives."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from k8s.errors import SettingsInvalid
from k8s.manifest.names import LONGEST, job_name, slug
from k8s.manifest.pod import amount
from k8s.manifest.render import MOST_INDEXES, render
from k8s.yaml_text import text_of
from tests.k8s.job_settings import settings, spec

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
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


@pytest.mark.slow
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
    kubernetes_validate.validate(found.job, "1.34", strict=True)
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
