"""Every field of a spec, read from the model's own JSON Schema, and other values that it accepts."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from pydantic import BaseModel

Path = tuple[str | int, ...]
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


class Leaf(NamedTuple):
    """A field without fields of its own. `nodes`: the alternatives of its schema that are no sections."""

    path: Path
    nodes: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Its path; where a section may also stand in a list, as in the list."""
        return ".".join(map(str, self.path))

    @property
    def option(self) -> str:
        """Its path without numbers."""
        return ".".join(part for part in self.path if isinstance(part, str))


def leaves(spec: type[BaseModel]) -> list[Leaf]:
    """Every field, those of a section in a list under the list's first number. `null` for a section is one too."""
    schema = spec.model_json_schema()
    return list(_below(schema, schema, ()))


def _below(schema: dict[str, Any], section: dict[str, Any], path: Path) -> Iterator[Leaf]:
    for name, field in section["properties"].items():
        plain = []
        for node in _alternatives(schema, field):
            items = _alternatives(schema, node.get("items", {}))
            if "properties" in node:
                yield from _below(schema, node, (*path, name))
            elif any("properties" in item for item in items):
                for item in items:
                    yield from _below(schema, item, (*path, name, 0))
            else:
                plain.append(node)
        if plain:
            yield Leaf((*path, name), plain)


def _alternatives(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _alternatives(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    if "anyOf" in node:
        return [inner for one in node["anyOf"] for inner in _alternatives(schema, one)]
    return [node]


def others(leaf: Leaf, now: Any, told: dict[str, list[Any]]) -> list[Any]:
    """Values beside `now` that the schema accepts. `told`: by option, where a schema cannot say what is valid."""
    found = told.get(leaf.option) or [value for node in leaf.nodes for value in _values(node, now)]
    found = [value for value in found if value != now or type(value) is not type(now)]
    assert found, f"{leaf.name}: the schema says no other value; name one in OTHERS"
    return found


def _values(node: dict[str, Any], now: Any) -> Iterator[Any]:
    if "enum" in node or "const" in node:
        yield from node.get("enum", [node.get("const")])
    elif node["type"] == "null":
        yield None
    elif node["type"] == "boolean":
        yield from (True, False)
    elif node["type"] in ("integer", "number"):
        given = now if isinstance(now, (int, float)) else 1
        tries = [given + 1, given // 2] if node["type"] == "integer" else [given / 2, given * 2, 0.5]
        yield next(one for one in tries if one != now and _is_within(one, node))


def _is_within(value: float, node: dict[str, Any]) -> bool:
    least, most, above, below = (node.get(name) for name in _BOUNDS)
    return (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def value_at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def changed(data: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy with another value at one place."""
    copy = deepcopy(data)
    value_at(copy, path[:-1])[path[-1]] = value
    return copy
