"""The spec's JSON Schema, and its description of the field at a path."""

import math
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from job.spec.spec import JobSpec

Keys = tuple[str | int, ...]
"""A path in a spec: names, and numbers in lists."""
BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "up to"}


class _PlainSchema(GenerateJsonSchema):
    """Leaves out the title of each field, which only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec. It lists quantization types in lower and upper case; the job takes any case."""
    made = JobSpec.model_json_schema(schema_generator=_PlainSchema)
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The spec of a finetune-run job"}
    return dialect | {key: value for key, value in made.items() if key != "title"}


_schema = cache(schema)


def last_part(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def alternatives(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a schema node, with references and unions resolved."""
    if "$ref" in node:
        return alternatives(_schema()["$defs"][last_part(node["$ref"].replace("/", "."))])
    for union in ("anyOf", "oneOf"):
        if union in node:
            return [inner for one in node[union] for inner in alternatives(one)]
    return [node]


def nodes_at(keys: Keys) -> list[dict[str, Any]]:
    """The schemas that a value at this place may follow; empty if the place is unknown."""
    nodes = [_schema()]
    for key in keys:
        inner = [node.get("items") if isinstance(key, int) else _property(node, key) for node in nodes]
        nodes = [one for node in inner if node for one in alternatives(node)]
    return nodes


def _property(node: dict[str, Any], key: str) -> dict[str, Any] | None:
    found = node.get("properties", {}).get(key) or node.get("additionalProperties")
    return found or None


def fields_below(keys: Keys) -> list[str]:
    return [name for node in nodes_at(keys) for name in node.get("properties", ())]


@cache
def every_field(keys: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every field's path."""
    paths = []
    for name in fields_below(keys):
        paths += [".".join((*keys, name)), *every_field((*keys, name))]
    return tuple(paths)


def accepted(nodes: list[dict[str, Any]], largest: float = math.inf) -> str:
    """What the alternatives of a field accept, in words. Bounds of `largest` and above are left out: no real value
    reaches them."""
    return " or ".join(dict.fromkeys(_accepted(node, largest) for node in nodes))


def _accepted(node: dict[str, Any], largest: float) -> str:
    if words := words_of(node):
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


def words_of(node: dict[str, Any]) -> list[Any]:
    """The words of an enumeration; if it lists both cases of a word, only the lower case."""
    words = node.get("enum", [node["const"]] if "const" in node else [])
    return [word for word in words if not (isinstance(word, str) and word.lower() != word and word.lower() in words)]
