"""Writes objects as YAML that all parsers read alike: kubectl's (YAML 1.1, with `y` and `1e3`), Helm's, and YAML
1.2's."""

import re
from collections.abc import Iterable
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

_PLAIN = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)$)[A-Za-z/][A-Za-z0-9./_-]*")
_BLOCK = re.compile(r"[\x21-\x7e][\x20-\x7e\n]*\n(?<!\n\n)")


def text_of(objects: Iterable[Any], comment: str = "") -> str:
    """One document for each object. Texts are quoted, except words that every parser reads as text. `comment`: lines
    for the top."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1 << 20
    stream = StringIO()
    yaml.dump_all([_quoted(one) for one in objects], stream)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + stream.getvalue()


def _quoted(value: Any) -> Any:
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(item) for item in value]
    if not isinstance(value, str) or _PLAIN.fullmatch(value):
        return value
    return LiteralScalarString(value) if _BLOCK.fullmatch(value) else DoubleQuotedScalarString(value)
