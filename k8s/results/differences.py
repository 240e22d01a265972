"""What two or more runs were asked for or made with, where it differs: fields of the spec, pinned commits, versions."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from job import strict_json
from k8s.results.compare import Entry

MOST = 60
"""Characters of a value that are shown."""
_MISSING = object()


class Difference(NamedTuple):
    """A path, and each run's value as JSON; empty if the run has none."""

    path: str
    values: list[str]


def differences(runs: Sequence[Entry]) -> list[Difference]:
    """In the order in which a spec is written."""
    facts = [dict(_flat(_facts(one))) for one in runs]
    known = [one for one in facts if one]  # of a sweep's index that has not begun nothing is known
    found = []
    for path in dict.fromkeys(path for one in facts for path in one):
        if any(one.get(path, _MISSING) != known[0].get(path, _MISSING) for one in known):
            found.append(Difference(path, [_text(one[path]) if path in one else "" for one in facts]))
    return found


def shortened(text: str) -> str:
    """The beginning of a long text, with its length and a digest: what differs further on does not look the same."""
    if len(text) <= MOST:
        return text
    return f"{text[:MOST]}… ({len(text):,} characters, {hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _facts(one: Entry) -> dict[str, Any]:
    found = dict(one.spec or {})
    if manifest := one.manifest:
        found |= {"sources": manifest.sources, "versions": dict(manifest.versions)}
        exported = manifest.stages["export"].inputs if "export" in manifest.stages else None
        llama = ((exported or {}).get("exported") or {}).get("llama")
        found["versions"] |= {"llama.cpp": llama} if llama else {}
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, and of lists of mappings. An empty mapping is a leaf."""
    parts: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        parts = {str(number): one for number, one in enumerate(value)}
    if not parts and path:
        yield path, value
    for name, part in parts.items():
        yield from _flat(part, f"{path}.{name}" if path else str(name))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.dumps(value, ensure_ascii=False)
