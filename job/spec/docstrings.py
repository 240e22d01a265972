"""The docstrings below the fields of a section, which become descriptions in the schema."""

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Any


def describe_fields(schema: dict[str, Any], section: type) -> None:
    """Adds the docstrings to the schema of a section, as `json_schema_extra`. pydantic's own option reads the sources
    at each import, also if nobody asks for a schema."""
    for cls in section.__mro__:
        if (node := _classes(cls.__module__).get(cls.__name__)) is not None:
            for name, text in _docstrings(node).items():
                if name in schema.get("properties", {}):
                    schema["properties"][name].setdefault("description", text)


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of one of this room's modules, by name."""
    if not module.startswith(f"{__package__}."):
        return {}
    body = ast.parse(inspect.getsource(sys.modules[module])).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


def _docstrings(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, below in pairwise(node.body):
        match field, below:
            case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                found[name] = inspect.cleandoc(text)
    return found
