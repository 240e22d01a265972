#!/usr/bin/env python3
"""Writes docs/spec.md, the reference of every field, from the spec's JSON Schema; and the schema itself, for editors,
beside it and into the chart.

scripts/spec_reference.py            writes it
scripts/spec_reference.py --check    exits 1 if it is not what would be written
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from job.spec.schema import accepted, alternatives, schema

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "spec.md"
SCHEMAS = (ROOT / "docs" / "spec.schema.json", ROOT / "helm" / "finetune-run" / "spec.schema.json")
NOBODY_MEETS = 2**31  # a bound from here on only keeps numbers within what the libraries can hold
HEAD = """\
<!-- Written by scripts/spec_reference.py from job/spec/sections.py; change that, then run `make docs`. -->

# The spec

A spec is one YAML 1.2 or JSON file that describes a run. A model and a data set are enough; every other field has a
default. `examples/` has complete files to start from.

- Each field can be set in the environment: `FINETUNE__TRAINING__LEARNING_RATE=1e-4` is `training.learning_rate`.
  The environment wins over the file, the file over the defaults. A value that is JSON is read as JSON
  (`FINETUNE__TRAINING=null`, `FINETUNE__EXPORT__TYPES='["q8_0"]'`), anything else as text; a list is set as a whole.
- So it can on the command line, which wins over the environment: `--set training.learning_rate=1e-4`.
- YAML 1.2: `2e-4` is a number, `off` is a word (a switch reads it as false), a key may be given only once. Numbers
  and switches may be quoted; `true` is not a number. Anchors and aliases are not supported. A file has at most 1 MiB.
- A secret in a spec is refused: the spec is copied into the run store. Credentials come from the environment
  (`HF_TOKEN`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`) or from mounted files (`HF_TOKEN_PATH`,
  `AWS_SHARED_CREDENTIALS_FILE`).
- A name like `owner/name` is the Hub's; one with a data file's ending (`support.csv`) is a file. If a file or folder
  here has the name of a repository, the spec has to say which is meant: `./owner/name` or `hf://owner/name`.
- `python -m job check my.yaml` lists every fault at once and downloads nothing; it exits with 64 for a spec with a
  fault. It reads the beginning of files that are here, up to 20,000 rows, and exits as a run would (65, 66).
- `python -m job schema` prints the JSON Schema that this page is made from.
"""


def page() -> str:
    """The whole page."""
    whole = schema()
    sections = []
    for name, node in whole["properties"].items():
        sections.append(_section(name, node, name in whole["required"]))
    return "\n".join([HEAD, *sections]).rstrip() + "\n"


def _section(path: str, node: dict[str, Any], required: bool) -> str:
    """A heading, what the section is, a table of its fields, and the sections within it."""
    nodes = alternatives(node)
    if not any("properties" in one for one in nodes):
        table = [f"Accepts {accepted(nodes, NOBODY_MEETS)}; default `{json.dumps(node.get('default'))}`."]
        return "\n".join([f"## {path}", "", " ".join(node["description"].split()), "", *table, ""])
    fields = next(one for one in nodes if "properties" in one)
    rows, inner = [], []
    for name, field in fields["properties"].items():
        place = f"{path}.{name}"
        if any("properties" in one for one in alternatives(field)):
            inner.append(_section(place, field, name in fields.get("required", ())))
            kind = " or ".join(["a mapping (below)", *_null(field)])
        else:
            kind = accepted(alternatives(field), NOBODY_MEETS)
        default = "required" if name in fields.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
        rows.append(f"| `{name}` | {_cell(kind)} | {default} | {_cell(field.get('description', ''))} |")
    said = dict.fromkeys(one.rstrip(".") + "." for one in (fields.get("description"), node.get("description")) if one)
    said = {**said, **({"Required.": None} if required else {})}
    table = ["| field | accepts | default | description |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([f"## {path}", "", " ".join(" ".join(said).split()), "", *table, "", *inner])


def _null(field: dict[str, Any]) -> list[str]:
    return ["null"] if any(one.get("type") == "null" for one in alternatives(field)) else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is not up to date")
    wanted = {PAGE: page()} | dict.fromkeys(SCHEMAS, json.dumps(schema(), indent=1) + "\n")
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    if not parser.parse_args().check:
        for path in stale:
            path.write_text(wanted[path])
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not up to date; run make docs", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
