"""Reads a spec from a file and the environment, and says everything that is wrong with it at once.

The environment wins over the file, the file over the defaults. A variable's name is the path, in any
case, with `__` between its parts: FINETUNE__TRAINING__LEARNING_RATE=1e-4. A value that is JSON is read as
JSON, so a list is set as a whole; anything else is text.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node

from job.artifacts import digest_of
from job.errors import SpecInvalid
from job.redaction import MASK, SECRET_SHAPES, redact, secret_values
from job.spec import JobSpec

PREFIX = "FINETUNE__"
MAX_BYTES = 1 << 20
MAX_FAULTS = 100
MAX_DEPTH = 50
SHOWN = 60  # characters of a value
HINT = "docs/spec.md and `python -m job schema` list every field with what it accepts."
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
"""Names that other tools use, and where the same is found here."""

Keys = tuple[str | int, ...]
_SECRET_KEY = re.compile(
    r"(token|secret|passw(or)?d|passphrase|api_?key|access_?key(_?id)?|private_?key|credentials?|webhook(_?url)?)\Z",
    re.I,
)
_TOKENIZER_KEY = re.compile(r"(pad|eos|bos|unk|sep|cls|mask|stop|special)_?token\Z", re.I)
_RANDOM_TEXT = re.compile(r"[A-Za-z0-9/+=]{32,}")


BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "up to"}
WRONG = {
    "switch_for_number": "true and false are no numbers",
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
"""What pydantic's types of errors mean."""
_UNSET = object()


class Fault(NamedTuple):
    """What is wrong at one place. `place` is the better-known field that was probably meant, if any."""

    keys: Keys
    said: str
    place: str = ""


def load(path: Path | None, environ: Mapping[str, str]) -> JobSpec:
    """The spec of a file (None: the environment alone) and of the environment.

    Raises SpecInvalid with every fault, one a line: `path: value -> what is wrong; what would be accepted`.
    """
    data = _read(path) if path is not None else {}
    origins, faults = _overlay(data, environ)
    if path is None and not origins:
        raise SpecInvalid(
            "there is no spec",
            hint=f"Name a file (`python -m job run my.yaml`, or FINETUNE_SPEC), or set {PREFIX}MODEL__ID and the like.",
        )
    secrets = list(_secret_faults(data, secret_values(environ)))
    spec, wrong = _validated(data)
    faults += secrets + [fault for fault in wrong if not any(_below(fault.keys, secret.keys) for secret in secrets)]
    if spec is not None and not faults:
        return spec
    lines = [_line(fault, data, origins, environ) for fault in faults[:MAX_FAULTS]]
    more = "more than " if len(faults) > MAX_FAULTS else ""
    count = f"{more}{len(lines)} {'fault' if len(lines) == 1 else 'faults'}"
    raise SpecInvalid(f"the spec ({path or 'from the environment'}) has {count}:\n  " + "\n  ".join(lines), hint=HINT)


def resolved(spec: JobSpec) -> dict[str, Any]:
    """The spec with every default, as JSON can hold it."""
    return spec.model_dump(mode="json")


def spec_digest(spec: JobSpec) -> str:
    """The hash of the resolved spec: equal for specs that mean the same."""
    return digest_of(resolved(spec))


class _PlainSchema(GenerateJsonSchema):
    """Without a title for each field, which only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec. It lists quantization types in lower and upper case; the job takes any case."""
    made = JobSpec.model_json_schema(schema_generator=_PlainSchema)
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The spec of a finetune-run job"}
    return dialect | {key: value for key, value in made.items() if key != "title"}


_schema = cache(schema)


def _refused(message: str) -> SpecInvalid:
    return SpecInvalid(redact(message), hint=HINT)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _refused(f"the spec {path} does not exist") from error
    except OSError as error:
        raise _refused(f"the spec {path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise _refused(f"the spec {path} has more than {MAX_BYTES} bytes; a spec names its data, it does not hold it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"the spec {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        data = _from_json(text) if path.suffix.lower() == ".json" else _from_yaml(text)
    except _Unreadable as error:
        raise _refused(f"the spec {path} cannot be read: {error}") from error
    except RecursionError as error:
        raise _refused(f"the spec {path} cannot be read: it is nested too deeply") from error
    if data is None:
        raise _refused(f"the spec {path} is empty; it needs at least model and dataset")
    if not isinstance(data, dict):
        raise _refused(f"the spec {path} is not a mapping; write `model: {{id: owner/name}}` and so on")
    return data


class _Unreadable(ValueError):
    """Not YAML or JSON; says where."""


def _from_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise _Unreadable(f"the key {_key(key)} is there twice")
            seen[key] = value
        return seen

    try:
        return _plain(json.loads(text, object_pairs_hook=unique)) if text.strip() else None
    except _Unreadable:
        raise
    except json.JSONDecodeError as error:
        raise _Unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except ValueError as error:
        raise _Unreadable("a number has too many digits") from error


def _from_yaml(text: str) -> Any:
    try:
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _Unreadable("it is nested too deeply")
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise _Unreadable(f"line {line}: aliases (*{_key(event.anchor)}) are not read; write the value out")
        data = _plain(YAML(typ="safe", pure=True).load(text))
        for section in _empty_sections(YAML(typ="safe", pure=True).compose(text)):
            data[section] = ""
        return data
    except DuplicateKeyError as error:
        key = re.match(r'found duplicate key "(.*?)"', str(error.problem), re.S)
        raise _Unreadable(f"{_mark(error)}the key {_key(key[1]) if key else ''} is there twice") from error
    except MarkedYAMLError as error:
        raise _Unreadable(f"{_mark(error)}{error.problem or error.context}") from error
    except YAMLError as error:
        raise _Unreadable("it has characters that YAML does not allow") from error
    except _Unreadable:
        raise
    except ValueError as error:
        raise _Unreadable("a number or a date in it is none") from error


def _mark(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _empty_sections(root: Node | None) -> list[str]:
    """A section whose lines are all commented out is null to YAML; for `training` that would mean no training."""
    pairs = root.value if isinstance(root, MappingNode) else []
    return [key.value for key, value in pairs if value.value == "" and value.tag == "tag:yaml.org,2002:null"]


def _plain(value: Any, depth: int = 0) -> Any:
    """With text for keys and for bytes, as JSON has them."""
    if depth > MAX_DEPTH:
        raise _Unreadable("it is nested too deeply")
    if isinstance(value, dict):
        return {str(_plain(key, depth)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, str) and not _is_unicode(value):
        raise _Unreadable("it has half a surrogate pair, which is no text")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _is_unicode(text: str) -> bool:
    """JSON's escapes and the environment's raw bytes can give strings that nothing can write out again."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _overlay(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Keys, str], list[Fault]]:
    """Puts the environment's values into `data`. Gives which variable set which place, and what could not be set."""
    origins: dict[Keys, str] = {}
    faults = []
    names = (name for name in environ if name.upper().startswith(PREFIX))
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        keys: Keys = tuple(name[len(PREFIX) :].lower().split("__"))
        if not all(keys):
            problem = f"a name is missing; write {PREFIX}SECTION__FIELD"
        elif keys in origins:
            problem = f"{origins[keys]} sets the same; write one of the two"
        elif not _is_unicode(name + environ[name]):
            problem = "not UTF-8 text; write it as UTF-8"
        else:
            problem = _put(data, keys, _from_text(environ[name], keys), origins)
        if problem:
            faults.append(Fault((), f"{_key(name)} -> {problem}"))
        else:
            origins[keys] = name
    return origins, faults


def _from_text(text: str, keys: Keys) -> Any:
    """JSON where it is JSON, except that a field of text takes `42` and `true` as the text that they are."""
    try:
        value = _from_json(text)
    except (_Unreadable, RecursionError):
        return text
    if value is None:
        return None if text.strip() else text
    kinds = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "list": "array", "dict": "object"}
    wanted = {node.get("type") for node in _nodes(keys)}
    return text if "string" in wanted and kinds[type(value).__name__] not in wanted | {"string"} else value


def _put(data: dict[str, Any], keys: Keys, value: Any, origins: Mapping[Keys, str]) -> str:
    """Sets one value; where that cannot be, says why."""
    here = data
    for depth, key in enumerate(keys[:-1], 1):
        child = here.get(str(key))
        if child is None and keys[:depth] in origins:
            return f"{origins[keys[:depth]]} is null; write one of the two"
        if child is not None and not isinstance(child, dict):
            what = "a list" if isinstance(child, list) else "no mapping"
            whole = PREFIX + "__".join(map(str, keys[:depth])).upper()
            return f"{_path(keys[:depth])} is {what} here; set it as a whole, as JSON, in {whole}"
        if child is None:
            here[str(key)] = child = {}
        here = child
    _merge(here, str(keys[-1]), value)
    return ""


def _merge(into: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(into.get(key), dict):
        for name, item in value.items():
            _merge(into[key], name, item)
    else:
        into[key] = value


def _secret_faults(value: Any, hidden: list[str], keys: Keys = ()) -> Iterator[Fault]:
    """Every place with a secret, by its key's name, its shape, or because it is one of the environment's (`hidden`)."""
    if isinstance(value, dict):
        for key, item in value.items():
            named = _SECRET_KEY.search(key) and not _TOKENIZER_KEY.search(key) and not _nodes((*keys, key))
            if named or _holds_secret(key, hidden):
                yield Fault((*keys, key), NO_SECRETS)
            else:
                yield from _secret_faults(item, hidden, (*keys, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _secret_faults(item, hidden, (*keys, number))
    elif isinstance(value, str) and _holds_secret(value, hidden):
        yield Fault(keys, NO_SECRETS)


def _holds_secret(text: str, hidden: list[str]) -> bool:
    """Inside a text only long secrets are looked for: a short one may be an ordinary word."""
    known = any(secret == text or (len(secret) >= 16 and secret in text) for secret in hidden)
    return known or SECRET_SHAPES.search(text) is not None


def _validated(data: dict[str, Any]) -> tuple[JobSpec | None, list[Fault]]:
    """The spec, or its faults: those of fields and, in what is left without them, those between fields.

    A fault between fields counts only where none of its fields is at fault by itself.
    """
    faults: list[Fault] = []
    rest = deepcopy(data)
    while len(faults) <= MAX_FAULTS:
        try:
            spec = JobSpec.model_validate(rest)
        except ValidationError as error:
            between = [fault for one in error.errors() for fault in one.get("ctx", {}).get("faults", ())]
            if between:
                suspects = {_names(fault.keys) for fault in faults} | {_split(fault.place) for fault in faults}
                sound = (fault for fault in between if not any(_touches(path, suspects) for path in fault.paths))
                return None, faults + [Fault(_split(fault.paths[0]), fault.message) for fault in sound]
            found = list(islice(_field_faults(error, rest), MAX_FAULTS + 1))
            faults = faults or found
            for fault in found:
                _take_out(rest, fault.keys)
        else:
            return (None, faults) if faults else (spec, [])
    return None, faults


def _split(path: str) -> Keys:
    return tuple(int(part) if part.isdigit() else part for part in path.split("."))


def _names(keys: Keys) -> Keys:
    return tuple(key for key in keys if isinstance(key, str))


def _below(keys: Keys, top: Keys) -> bool:
    return keys[: len(top)] == top


def _touches(path: str, suspects: set[Keys]) -> bool:
    return any(_below(_names(_split(path)), suspect) for suspect in suspects)


def _take_out(data: dict[str, Any], keys: Keys) -> None:
    """Removes what is at fault (of a list, the whole list), or puts something valid where something is required."""
    while isinstance(keys[-1], int):
        keys = keys[:-1]
    parent = _at(data, keys[:-1])
    if parent is _UNSET:
        return
    if keys[-1] in parent:
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = {"id": "owner/name"} if keys == ("model",) else "owner/name"


def _at(data: Any, keys: Keys) -> Any:
    for key in keys:
        known = isinstance(key, int) and isinstance(data, list) and key < len(data)
        if not known and not (isinstance(data, dict) and key in data):
            return _UNSET
        data = data[key]
    return data


def _field_faults(error: ValidationError, data: dict[str, Any]) -> Iterator[Fault]:
    """One fault for each place. Where alternatives were tried, the one that got further tells what is wrong."""
    places: dict[Keys, list[ErrorDetails]] = {}
    for one in error.errors(include_url=False):
        places.setdefault(_keys(one, data), []).append(one)
    passed = {keys[:depth] for keys in places for depth in range(len(keys))}
    for keys, errors in places.items():
        if keys not in passed:
            yield _fault(keys, {one["type"]: one["msg"] for one in errors}, _at(data, keys))


def _keys(error: ErrorDetails, data: Any) -> Keys:
    """The place in the data: pydantic's own also names the alternatives that it tried."""
    keys: Keys = ()
    for part in error["loc"]:
        if _at(data, (*keys, part)) is not _UNSET or (error["type"] == "missing" and part == error["loc"][-1]):
            keys = (*keys, part)
    return keys


def _fault(keys: Keys, errors: dict[str, str], value: Any) -> Fault:
    """What pydantic found at one place, by the type of each error, in the words of this job."""
    nodes = _nodes(keys)
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
        words = [str(word) for node in nodes for word in _words(node)]
        near = difflib.get_close_matches(value.lower()[:SHOWN], words, n=1) if isinstance(value, str) else []
        return Fault(keys, f"unknown; did you mean {near[0]}? {write}" if near else f"unknown; {write}")
    if "string_type" in errors and not isinstance(value, (dict, list, type(None))):
        return Fault(keys, "not text; put it in quotes")
    return Fault(keys, f"{next((said for kind, said in WRONG.items() if kind in errors), 'not accepted')}; {write}")


def _unknown(keys: Keys) -> Fault:
    """An unknown key: the known one that was probably meant, here or in another section."""
    here = [".".join([*map(str, _names(keys[:-1])), name]) for name in _fields(keys[:-1])]
    key = str(keys[-1]).lower().replace("-", "_")[:SHOWN]
    everywhere = _every_field()
    places = (
        [path for path in here if _last(path).replace("_", "") == key.replace("_", "")]
        or [path for path in everywhere if _last(path) == key]
        or [ELSEWHERE[name] for name in [key] if name in ELSEWHERE]
        or [path for path in here if _last(path) in difflib.get_close_matches(key, map(_last, here), n=1, cutoff=0.7)]
        or [path for path in everywhere if difflib.SequenceMatcher(None, key, _last(path)).ratio() > 0.8]
    )
    if places:
        return Fault(keys, f"unknown; did you mean {' or '.join(places[:3])}?", places[0])
    return Fault(keys, f"unknown; known here: {', '.join(map(_last, here))}")


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def alternatives(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What a node of the schema stands for, without references and unions."""
    if "$ref" in node:
        return alternatives(_schema()["$defs"][_last(node["$ref"].replace("/", "."))])
    if "anyOf" in node:
        return [inner for one in node["anyOf"] for inner in alternatives(one)]
    return [node]


def _nodes(keys: Keys) -> list[dict[str, Any]]:
    """The schemas that a value at this place may follow; none where the place is unknown."""
    nodes = [_schema()]
    for key in keys:
        inner = [node.get("items") if isinstance(key, int) else _property(node, key) for node in nodes]
        nodes = [one for node in inner if node for one in alternatives(node)]
    return nodes


def _property(node: dict[str, Any], key: str) -> dict[str, Any] | None:
    found = node.get("properties", {}).get(key) or node.get("additionalProperties")
    return found or None


def _fields(keys: Keys) -> list[str]:
    return [name for node in _nodes(keys) for name in node.get("properties", ())]


@cache
def _every_field(keys: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every field's path."""
    paths = []
    for name in _fields(keys):
        paths += [".".join((*keys, name)), *_every_field((*keys, name))]
    return tuple(paths)


def accepted(nodes: list[dict[str, Any]], largest: float = math.inf) -> str:
    """What the alternatives of a field accept, in words; bounds from `largest` on, which nobody meets, are left out."""
    return " or ".join(dict.fromkeys(_accepted(node, largest) for node in nodes))


def _accepted(node: dict[str, Any], largest: float) -> str:
    if words := _words(node):
        return f"one of {', '.join(map(str, words))}" if len(words) > 1 else str(words[0])
    match node.get("type"):
        case "integer" | "number":
            bounds = [f"{word} {node[name]}" for name, word in BOUNDS.items() if name in node and node[name] < largest]
            kind = "a whole number" if node["type"] == "integer" else "a number"
            return f"{kind} {' and '.join(bounds)}".rstrip()
        case "array":
            return f"a list (each: {accepted(alternatives(node['items']), largest)})"
        case "object":
            return f"a mapping of {', '.join(node.get('properties', ['text to text']))}"
        case "boolean":
            return "true or false"
        case "string":
            return "text"
    return str(node.get("type"))


def _words(node: dict[str, Any]) -> list[Any]:
    """The words of an enumeration; those that it has in both cases, in lower case."""
    words = node.get("enum", [node["const"]] if "const" in node else [])
    return [word for word in words if not (isinstance(word, str) and word.lower() != word and word.lower() in words)]


def _line(fault: Fault, data: dict[str, Any], origins: Mapping[Keys, str], environ: Mapping[str, str]) -> str:
    if not fault.keys:
        return fault.said
    value = _at(data, fault.keys)
    whole = fault.said == NO_SECRETS or isinstance(value, dict)
    names = [name for keys, name in origins.items() if _below(fault.keys, keys) or (whole and _below(keys, fault.keys))]
    source = f" ({', '.join(names)})" if names else ""
    value = "[not shown]" if fault.said == NO_SECRETS else _shown(value, environ)
    return redact(f"{_path(fault.keys, environ)}{source}: {value} -> {fault.said}", environ)


def _path(keys: Keys, environ: Mapping[str, str] | None = None) -> str:
    return ".".join(_key(redact(str(key), environ)) for key in keys)


def _key(key: Any) -> str:
    """A key as it was written, unless it would break the line."""
    return str(key) if re.fullmatch(r"[\w.\[\]-]{1,60}", str(key)) else _shown(str(key))


def _shown(value: Any, environ: Mapping[str, str] | None = None) -> str:
    """A value for a message: on one line, shortened, without a secret and what might be one."""
    if value is _UNSET:
        return "not set"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"[{', '.join([_shown(item, environ) for item in value[:8]] + ['…'] * (len(value) > 8))}]"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    if isinstance(value, str):
        value = _RANDOM_TEXT.sub(_masked, redact(value, environ))
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text[: SHOWN * 2])
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _masked(found: re.Match[str]) -> str:
    """Hides what is as mixed as a key of no known shape; the hex digits of a commit are not."""
    text = found[0]
    mixed = any(map(str.islower, text)) and any(map(str.isupper, text)) and any(map(str.isdigit, text))
    return MASK if mixed else text
