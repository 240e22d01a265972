"""Whatever a row holds is in its tokens, or makes the row broken, or is named as left out."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from job.dataset.normalize import normalizer
from job.dataset.reading import find_source
from job.dataset.rows import Broken
from job.errors import DataInvalid
from job.spec.sections import Dataset
from job.tokens.encoder import Encoder, Unfit
from job.tokens.tokenizer import load_tokenizer
from tests.job.tokens.families import from_trl
from tests.job.tokens.making import spec_of, tokenizer_folder
from tests.tiny_models import CHAT_TEMPLATE

TEMPLATES = {"tiny": CHAT_TEMPLATE} | {name: from_trl(name) for name in ("llama3_1", "qwen2_5", "qwen3")}
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
_NUMBERS = itertools.count(1000)


def word() -> st.SearchStrategy[str]:
    """A word that stands nowhere else."""
    return st.builds(lambda: f"word{next(_NUMBERS)}")


def calls() -> st.SearchStrategy[Any]:
    def call(name: str, arguments: dict[str, str], is_text: bool, is_alone: bool) -> dict[str, Any]:
        function = {"name": name, "arguments": json.dumps(arguments) if is_text else arguments}
        return function if is_alone else {"type": "function", "function": function}

    one = st.builds(call, word(), st.dictionaries(st.just("town"), word()), st.booleans(), st.booleans())
    return st.lists(one, min_size=1, max_size=1).flatmap(lambda found: st.sampled_from([found, json.dumps(found)]))


def turn(role: str, more: dict[str, st.SearchStrategy[Any]], content: st.SearchStrategy[Any]) -> Any:
    fields = {"name": word(), "note": word(), "weight": st.sampled_from([0, 1])}
    return st.fixed_dictionaries({"role": st.just(role), "content": content}, optional=fields | more)


ANSWER = {"reasoning_content": word(), "thinking": word()}
TALKS = st.one_of(
    st.tuples(turn("user", {}, word()), turn("assistant", ANSWER, word())),
    st.tuples(
        turn("user", {}, word()),
        st.fixed_dictionaries(
            {"role": st.just("assistant"), "content": st.none() | word(), "tool_calls": calls()}, optional=ANSWER
        ),
        turn("tool", {"tool_call_id": word()}, word()),
        turn("assistant", ANSWER, word()),
    ),
    st.tuples(turn("system", {}, word()), turn("user", {}, word()), turn("assistant", {}, word())),
    st.tuples(*[turn(role, {}, word()) for role in ("user", "assistant", "user", "assistant")]),
).map(list)
TOOLS = st.builds(lambda name, said: [{"name": name, "description": said, "parameters": {}}], word(), word())
BESIDE = {"system": word(), "tools": TOOLS, "id": word(), "tags": st.lists(word(), min_size=1, max_size=2)}
ROWS = st.one_of(
    st.fixed_dictionaries({"messages": TALKS}, optional=BESIDE),
    st.fixed_dictionaries({"messages": TALKS.map(json.dumps)}, optional=BESIDE),
    st.fixed_dictionaries(
        {"instruction": word(), "output": word()},
        optional=BESIDE | {"input": word(), "history": st.lists(st.tuples(word(), word()).map(list), max_size=2)},
    ),
    st.fixed_dictionaries({"prompt": word(), "completion": word()}, optional=BESIDE),
    st.fixed_dictionaries({"text": word()}, optional=BESIDE),
)


def words_of(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Each word of a row, with the field that it stands in."""
    if isinstance(value, str):
        try:
            return words_of(json.loads(value), name)
        except ValueError:
            return [(value, name)] if value.startswith("word") else []
    if isinstance(value, dict):
        role = str(value.get("role", ""))
        fields = {n: f"content of a turn of the {role}" if n == "content" else n for n in value}
        inner = name in ("tools", "tool_calls", "history")
        return [one for n, held in value.items() for one in words_of(held, name if inner else fields[n])]
    if isinstance(value, list):
        return [one for held in value for one in words_of(held, name)]
    return []


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tokenizer_folder(tmp_path_factory.mktemp("model") / "tiny")
    found = {name: load_tokenizer(spec_of(), folder) for name in TEMPLATES}
    for name, tokenizer in found.items():
        tokenizer.chat_template = TEMPLATES[name]
        if name != "tiny":
            enders = {"llama3_1": "<|eot_id|>"}.get(name, "<|im_end|>")
            tokenizer.add_special_tokens({"eos_token": enders})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
@SETTINGS
@given(row=ROWS)
def test_every_word_of_a_row_is_trained_or_told(
    tokenizers: dict[str, Any], tmp_path: Path, template: str, row: dict[str, Any]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    try:
        source = find_source(Dataset(id=str(path)), path)
        kind = "text" if source.layout.kind == "text" else "messages"
        normal = normalizer(source.layout, kind, None)(row)
        found = Encoder(spec_of(), tokenizers[template], kind).encode(normal)
    except (DataInvalid, Broken, Unfit) as refused:
        assert str(refused)
        return
    columns = source.left_out(row)
    decoded = tokenizers[template].decode(found.ids)
    for said, field in words_of({name: held for name, held in row.items() if name not in columns}):
        assert said in decoded or field in found.left_out, (said, field, decoded, found.left_out)
