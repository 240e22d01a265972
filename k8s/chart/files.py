"""The generated files of the chart: text by path within helm/finetune-run. scripts/chart.py writes them; a test proves
that writing them again changes nothing."""

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from k8s.chart.schema import schema
from k8s.chart.tables import job_table, placement_table
from k8s.chart.values import ChartValues
from k8s.yaml_text import text_of

WRITTEN = "# Written by scripts/chart.py from {source}.\n"
EXAMPLE = """
  model: {id: NousResearch/Llama-2-7b-hf}
  dataset: {id: Abirate/english_quotes, text: quote}
  training: {learning_rate: 1.0e-4, num_train_epochs: 2}     # null: only quantize
  export: {types: [q4_k_m, q8_0]}
  publish: {s3: "s3://YOUR-BUCKET/models/quotes"}
  run: {store: "s3://YOUR-BUCKET/runs"}
"""


def files(readme: str) -> dict[str, str]:
    """`readme`: the current README, in which the table is replaced."""
    return {
        "files/job.yaml": WRITTEN.format(source="k8s/manifest/base.py") + text_of([job_table()]),
        "files/placement.yaml": WRITTEN.format(source="k8s/placement/platforms and k8s/placement/gpu_names.py")
        + _table_text(),
        "values.schema.json": json.dumps(schema(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "values.yaml": "\n".join(values_text(ChartValues())) + "\n",
        "README.md": _renewed(readme),
    }


def _table_text() -> str:
    """One line for each list of requirements."""
    yaml = YAML()
    yaml.width = 1 << 20
    stream = StringIO()
    yaml.dump(_flowing(placement_table()), stream)
    return stream.getvalue()


def _flowing(value: Any) -> Any:
    if isinstance(value, dict):
        return CommentedMap({key: _flowing(item) for key, item in value.items()})
    if not isinstance(value, list):
        return value
    found = CommentedSeq(value)
    found.fa.set_flow_style()
    return found


def values_text(values: BaseModel, indent: str = "") -> Iterator[str]:
    """values.yaml: each field with its docstring as a comment, and its default."""
    for name, field in type(values).model_fields.items():
        value, key = getattr(values, name), field.alias or name
        if not indent:
            yield ""
        yield from _comment(field.description, indent)
        if key == "spec":
            yield from (f"#{line}" for line in EXAMPLE.strip("\n").splitlines())
        if isinstance(value, BaseModel):
            yield f"{indent}{key}:"
            yield from values_text(value, indent + "  ")
        else:
            yield f"{indent}{key}: {_shown(value)}"


def _comment(text: str | None, indent: str) -> Iterator[str]:
    lines = (text or "").splitlines()
    yield from (f"{indent}# {'-- ' if number == 0 else ''}{line}" for number, line in enumerate(lines))


def _shown(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value, re.ASCII)
    return value if plain else json.dumps(value, allow_nan=False)


def rows(values: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Rows of the README's table: name, default, description."""
    for name, field in type(values).model_fields.items():
        value, key = getattr(values, name), prefix + (field.alias or name)
        what = " ".join((field.description or "").split())
        if isinstance(value, BaseModel):
            if what:
                yield key, "", what
            yield from rows(value, f"{key}.")
        else:
            yield key, f"`{_shown(value)}`", what


def _renewed(readme: str) -> str:
    table = ["| value | default | |", "| --- | --- | --- |"]
    table += [
        f"| `{name}` | {default} | {what.replace('|', chr(92) + '|')} |" for name, default, what in rows(ChartValues())
    ]
    begin, end = "<!-- values -->\n", "<!-- /values -->"
    head, _, rest = readme.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n" + "\n".join(table) + f"\n\n{end}{tail}"
