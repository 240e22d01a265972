"""Describes what is wrong with a spec: the place, what was written, what is accepted; never a secret."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from job.escape import one_line
from job.nearest import guess, nearest
from job.redaction import MASK, SECRET_SHAPES, redact
from job.spec.places import shown_place
from job.spec.schema import Keys, accepted, every_field, fields_below, last_part, nodes_at, words_of

SHOWN = 60  # characters of a value
NO_SECRETS = (
    "a secret, and a spec is copied into the run store; put it into the environment or a mounted file: HF_TOKEN (or "
    "HF_TOKEN_PATH) for the Hub, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_SHARED_CREDENTIALS_FILE) for S3"
)
ELSEWHERE = {
    "base_model": "model.id",
    "model_name": "model.id",
    "model_id": "model.id",
    "dataset_name": "dataset.id",
    "dataset_text_field": "dataset.text",
    "system_prompt": "chat.system",
    "load_in_4bit": "load.bits",
    "load_in_8bit": "load.bits",
    "bnb_4bit_quant_type": "load.quant_type",
    "bnb_4bit_use_double_quant": "load.double_quant",
    "bnb_4bit_compute_dtype": "load.compute_dtype",
    "rank": "lora.r",
    "lora_r": "lora.r",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "epochs": "training.num_train_epochs",
    "num_epochs": "training.num_train_epochs",
    "batch_size": "training.per_device_train_batch_size",
    "lr": "training.learning_rate",
    "max_seq_length": "training.max_length",
    "warmup_steps": "training.warmup_ratio",
    "optimizer": "training.optim",
    "imatrix_file": "export.imatrix",
    "quantization_methods": "export.types",
    "quantization": "export.types",
    "output_dir": "publish.folder",
    "hub_model_id": "publish.hub.repo_id",
}
"""Option names of other tools, and the field that does the same here."""
_SECRET_KEY = re.compile(
    r"(token|secret|passw(or)?d|passphrase|api_?key|access_?key(_?id)?|private_?key|credentials?|webhook(_?url)?)\Z",
    re.I,
)
_TOKENIZER_KEY = re.compile(r"(pad|eos|bos|unk|sep|cls|mask|stop|special)_?token\Z", re.I)
_NEW_WORD = re.compile(r"[a-z0-9][A-Z]")
_RANDOM_TEXT = re.compile(r"[A-Za-z0-9/+=]{32,}")
WRONG = {
    "switch_for_number": "a number is expected, not true or false",
    "finite_number": "not a finite number",
    "int_from_float": "not a whole number",
    "too_short": "empty",
    "string_too_short": "empty",
    "greater_than": "out of range",
    "greater_than_equal": "out of range",
    "less_than": "out of range",
    "less_than_equal": "out of range",
    "int_parsing_size": "out of range",
    "int_parsing": "not a number",
    "float_parsing": "not a number",
    "int_type": "not a number",
    "float_type": "not a number",
    "string_type": "not text",
    "model_type": "not a mapping",
    "dict_type": "not a mapping",
    "list_type": "not a list",
}
"""The message for each of pydantic's error types."""
UNSET = object()


class Fault(NamedTuple):
    """What is wrong at one place. `place` is the field that was probably meant, if any."""

    keys: Keys
    said: str
    place: str = ""


def secret_faults(value: Any, hidden: list[str], keys: Keys = ()) -> Iterator[Fault]:
    """Every place with a secret, by its key's name, its shape, or because it is one of the environment's (`hidden`)."""
    if isinstance(value, dict):
        for key, item in value.items():
            named = _SECRET_KEY.search(key) and not _TOKENIZER_KEY.search(key) and not _is_field(keys, key)
            if named or _holds_secret(key, hidden):
                yield Fault((*keys, key), NO_SECRETS)
            else:
                yield from secret_faults(item, hidden, (*keys, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from secret_faults(item, hidden, (*keys, number))
    elif isinstance(value, str) and _holds_secret(value, hidden):
        yield Fault(keys, NO_SECRETS)


def _is_field(section: Keys, key: str) -> bool:
    """Whether this is a field of the section, or almost one: `pad-token` is no secret, but misspelt."""
    return bool(nodes_at((*section, key)) or nearest(key, fields_below(section), cutoff=0.85))


def _holds_secret(text: str, hidden: list[str]) -> bool:
    """Whether a text contains a secret. Only long secrets count: a short one may be an ordinary word."""
    known = any(secret == text or (len(secret) >= 16 and secret in text) for secret in hidden)
    return known or SECRET_SHAPES.search(text) is not None


def field_faults(error: ValidationError, data: dict[str, Any]) -> Iterator[Fault]:
    """One fault for each place. If alternatives were tried, the fault of the one that got furthest."""
    places: dict[Keys, list[ErrorDetails]] = {}
    for one in error.errors(include_url=False):
        places.setdefault(_keys(one, data), []).append(one)
    passed = {keys[:depth] for keys in places for depth in range(len(keys))}
    for keys, errors in places.items():
        if keys not in passed:
            yield _fault(keys, {one["type"]: one["msg"] for one in errors}, value_at(data, keys))


def _keys(error: ErrorDetails, data: Any) -> Keys:
    """The place in the data, without the names of the alternatives that pydantic adds."""
    keys: Keys = ()
    for part in error["loc"]:
        if value_at(data, (*keys, part)) is not UNSET or (error["type"] == "missing" and part == error["loc"][-1]):
            keys = (*keys, part)
    return keys


def _fault(keys: Keys, errors: dict[str, str], value: Any) -> Fault:
    """The fault at one place, from pydantic's errors by their type."""
    nodes = nodes_at(keys)
    write = f"write {accepted(nodes)}"
    if "extra_forbidden" in errors:
        return _unknown(keys)
    if "missing" in errors:
        form = nodes[0]["description"] if nodes[0]["type"] == "string" else accepted(nodes)
        return Fault(keys, f"required; write {' '.join(form.split())}")
    if "value_error" in errors:
        return Fault(keys, errors["value_error"].removeprefix("Value error, "))
    if value == "" and "model_type" in errors:
        return Fault(keys, f"empty; {write}")
    if isinstance(value, str) and "model_type" in errors and any("id" in node.get("properties", ()) for node in nodes):
        return Fault(keys, f"not a mapping; write {{id: {_shown(value)}}}")
    if isinstance(value, str) and "list_type" in errors:
        words = [word for word in re.split(r"[][,\s\"']+", value) if word]
        return Fault(keys, f"not a list; write {_shown(words)}")
    if "literal_error" in errors and "too_short" not in errors:
        words = [str(word) for node in nodes for word in words_of(node)]
        near = guess(value, words, most=1) if isinstance(value, str) else ""
        return Fault(keys, f"unknown{near or ';'} {write}")
    if "string_type" in errors and not isinstance(value, (dict, list, type(None))):
        return Fault(keys, "not text; put it in quotes")
    return Fault(keys, f"{next((said for kind, said in WRONG.items() if kind in errors), 'not accepted')}; {write}")


def _unknown(keys: Keys) -> Fault:
    """The fault of an unknown key, with the known one that was probably meant, here or in another section."""
    here = [".".join([*map(str, field_names(keys[:-1])), name]) for name in fields_below(keys[:-1])]
    key = str(keys[-1]).lower().replace("-", "_")[:SHOWN]
    everywhere = every_field()
    places = (
        [path for path in here if last_part(path).replace("_", "") == key.replace("_", "")]
        or [path for path in everywhere if last_part(path) == key]
        or [ELSEWHERE[name] for name in [key] if name in ELSEWHERE]
        or [path for path in here if last_part(path) in nearest(key, map(last_part, here), most=1, cutoff=0.7)]
        or [path for path in everywhere if difflib.SequenceMatcher(None, key, last_part(path)).ratio() > 0.8]
    )
    if places:
        return Fault(keys, f"unknown; did you mean {' or '.join(places[:3])}?", places[0])
    return Fault(keys, f"unknown; known here: {', '.join(map(last_part, here))}")


def value_at(data: Any, keys: Keys) -> Any:
    for key in keys:
        known = isinstance(key, int) and isinstance(data, list) and key < len(data)
        if not known and not (isinstance(data, dict) and key in data):
            return UNSET
        data = data[key]
    return data


def field_names(keys: Keys) -> Keys:
    return tuple(key for key in keys if isinstance(key, str))


def below(keys: Keys, top: Keys) -> bool:
    return keys[: len(top)] == top


def fault_line(fault: Fault, data: dict[str, Any], origins: Mapping[Keys, str], environ: Mapping[str, str]) -> str:
    if not fault.keys:
        return fault.said
    value = value_at(data, fault.keys)
    whole = fault.said == NO_SECRETS or isinstance(value, dict)
    names = [name for keys, name in origins.items() if below(fault.keys, keys) or (whole and below(keys, fault.keys))]
    source = f" ({', '.join(names)})" if names else ""
    value = "[not shown]" if fault.said == NO_SECRETS else _shown(value, environ)
    return redact(f"{shown_path(fault.keys, environ)}{source}: {value} -> {fault.said}", environ)


def shown_path(keys: Keys, environ: Mapping[str, str] | None = None) -> str:
    return ".".join(shown_key(redact(str(key), environ)) for key in keys)


def shown_key(key: Any) -> str:
    """A key as it was written, unless it would break the line."""
    return str(key) if re.fullmatch(r"[\w.\[\]-]{1,60}", str(key)) else _shown(str(key))


def _shown(value: Any, environ: Mapping[str, str] | None = None) -> str:
    """A value for a message: on one line, shortened, without anything that is or might be a secret."""
    if value is UNSET:
        return "not set"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"[{', '.join([_shown(item, environ) for item in value[:8]] + ['…'] * (len(value) > 8))}]"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    if isinstance(value, str):
        value = _RANDOM_TEXT.sub(_masked, redact(shown_place(value), environ))
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = one_line(text[: SHOWN * 2])
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _masked(found: re.Match[str]) -> str:
    """Hides text that is as random as a key; the hex digits of a commit and the words of a path stay visible."""
    text = found[0]
    mixed = any(map(str.islower, text)) and any(map(str.isupper, text)) and any(map(str.isdigit, text))
    is_path = text.startswith("/") and found.string[: found.start()] in ("", ".", "..", "~")
    random = any(len(_NEW_WORD.findall(part)) > 2 for part in text.split("/"))
    return MASK if mixed and (random or not is_path) else text
