#!/usr/bin/env python3
"""Writes job/spec/defaults.json: every default of the spec, and the number that they go with (job/spec/canonical.py).

scripts/spec_defaults.py            writes it; exits 1 if a default has changed and the number has not
scripts/spec_defaults.py --check    writes nothing; exits 1 if it is not what would be written
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from job.spec import JobSpec
from job.spec.canonical import DEFAULTS, WITHOUT_RESULT
from job.spec.types import Section

TABLE = Path(__file__).resolve().parent.parent / "job" / "spec" / "defaults.json"


def table() -> dict[str, Any]:
    return {"number": DEFAULTS, "defaults": dict(defaults(JobSpec))}


def defaults(section: type[Section], prefix: str = "") -> Any:
    """Each field that has a default, by its path, sections that a field may hold included."""
    for name, field in section.model_fields.items():
        if not field.is_required():
            yield f"{prefix}{name}", to_jsonable_python(field.get_default(call_default_factory=True))
        for inner in sections_of(field.annotation):
            yield from defaults(inner, f"{prefix}{name}.")


def sections_of(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    found = [one for part in getattr(annotation, "__args__", ()) for one in sections_of(part)]
    return list(dict.fromkeys(found))


def changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The defaults that have another value under the same number. Of a section's own default only the fields count."""
    if old["number"] != new["number"]:
        return []
    before, now = old["defaults"], new["defaults"]
    free = {f"training.{name}" for name in WITHOUT_RESULT}
    differ = [path for path in before if path in now and before[path] != now[path] and path not in free]
    return [path for path in differ if not isinstance(now[path], dict)]


def main() -> int:
    new = table()
    text = json.dumps(new, indent=1, sort_keys=True) + "\n"
    if "--check" in sys.argv[1:]:
        if TABLE.is_file() and TABLE.read_text() == text:
            return 0
        print(f"{TABLE.name} is not up to date; run make docs", file=sys.stderr)
        return 1
    if TABLE.is_file() and (differ := changed(json.loads(TABLE.read_text()), new)):
        print(f"{', '.join(differ)}: another default; raise DEFAULTS in job/spec/canonical.py", file=sys.stderr)
        return 1
    TABLE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
