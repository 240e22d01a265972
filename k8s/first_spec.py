"""The text of a first spec: what most runs set, and as comments what they may set next."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from job import logs, strict_json
from job.check import look_at
from job.escape import one_line
from job.predict.rows_here import rows_here
from job.spec import JobSpec
from job.spec.load import load
from job.spec.overlay import Assignment
from job.spec.places import Where, data_place
from job.spec.schema import schema

NOBODY = "a-model/that-nobody-has"
"""Stands for a model that is not chosen yet."""
HERE: tuple[Where, ...] = ("path",)
TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Every field with its default: docs/spec.md, or `python -m job schema`.
recipe: modern                  # adapters on all linear layers; classic repeats a recipe for one T4 (docs/recipes.md)
model:
  id: {model}
dataset:{seen}
  id: {dataset}
  # eval_fraction: auto         # rows that are held out, on which every file is measured
  # duplicates: drop
# training:
#   num_train_epochs: 1
#   max_length: 512             # tokens of a row; longer ones are cut (dataset.too_long)
export:
  types: [q4_k_m, q8_0]         # docs/quantization.md says which to choose
publish:
  name: "{name}"
  # s3: s3://YOUR-BUCKET/models
  # hub: {{repo_id: YOUR-NAME/{name}-GGUF}}
# run:
#   store: s3://YOUR-BUCKET/runs  # or --store-pvc: what a lost pod continues from
"""


def seen(dataset: str) -> list[str]:
    """What the rows are, and how long. Nothing is said of rows that are not here. Raises the error that a run would end
    with."""
    if data_place(dataset) != "path":
        return []
    logs.configure(to_stdout=False)
    spec = JobSpec.model_validate({"model": {"id": NOBODY}, "dataset": {"id": dataset}})
    return [line.replace(NOBODY, "the model") for line in (*look_at(spec, {dataset}), *_lengths(spec))]


def _lengths(spec: JobSpec) -> Iterator[str]:
    if rows := rows_here(spec, HERE):
        yield f"tokens of a row: {rows.mean:,.0f} on average, at most {rows.longest:,} ({rows.how})"


def first_spec(model: str, dataset: str, told: Sequence[str], file: Path) -> str:
    """The text. Raises SpecInvalid if the model or the data set cannot be used so."""
    given = (("model.id", model, "--model"), ("dataset.id", dataset, "--dataset"))
    load(None, {}, [Assignment(path, strict_json.dumps(value), option) for path, value, option in given])
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in Path(dataset).stem).strip("-_.")
    return TEMPLATE.format(
        schema=schema_of(file).name,
        model=strict_json.dumps(model, ensure_ascii=False),
        dataset=strict_json.dumps(dataset, ensure_ascii=False),
        name=name or "model",
        seen="".join(f"\n  # {one_line(line)}" for line in told),
    )


def schema_of(file: Path) -> Path:
    """Where the schema lies: beside the spec."""
    return file.with_name(f"{file.stem}.schema.json")


def schema_beside(file: Path) -> None:
    """Writes it."""
    schema_of(file).write_text(strict_json.dumps(schema(), indent=1) + "\n", encoding="utf-8")
