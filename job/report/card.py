"""The model card `README.md`. Its YAML head is written and checked by huggingface_hub's own class."""

from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from job.escape import code_block, markdown
from job.redaction import redact
from job.report import table
from job.report.choice import enough
from job.report.facts import Facts
from job.spec.places import data_place, model_place

BEGIN, END = b"<!-- finetune-run: begin -->", b"<!-- finetune-run: end -->"
"""What is between them is written anew by each run; the rest of a README.md is its owner's."""


def card(facts: Facts, plot: str | None) -> str:
    """The card's text. `plot`: a picture's published name."""
    spec = facts.spec
    training, train = spec.training, facts.train
    hub = spec.publish.hub
    template = Environment(
        loader=PackageLoader("job.report", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("card.md")
    text = template.render(
        metadata=metadata(facts).to_yaml(),
        facts=facts,
        spec=spec,
        repo=hub.repo_id if hub else None,
        table=file_table(facts),
        plot=plot,
        enough=enough(facts.lines),
        first=facts.recommended,
        batch=training.per_device_train_batch_size * training.gradient_accumulation_steps if training else 0,
        loss_before=train.get("loss_before"),
        loss_after=train.get("loss_after"),
        stops=code_block("\n".join(facts.stops)),
        prompt=code_block(facts.form.shown()) if facts.form else None,
        imatrix="imatrix" in facts.records,
        plain=markdown,
        code=code_block,
    )
    head, body = redact(text).split("\n---\n", 1)
    body = body.strip("\n").replace("<!-- finetune-run:", "&lt;!-- finetune-run:")  # quoted from a row
    return f"{head}\n---\n\n{BEGIN.decode()}\n{body}\n{END.decode()}\n"


def earlier_section(names: list[str]) -> str:
    """The end of a card at a place where files of earlier runs lie, too."""
    listed = "".join(f"- {markdown(name)}\n" for name in names)
    return f"\n## Files of earlier runs\n\nThese are not made by the run above:\n\n{listed}"


def file_table(facts: Facts) -> str:
    """The table of files as Markdown."""
    columns = table.columns(facts.lines)
    rows = [[column.heading for column in columns], ["---" if n < 2 else "---:" for n in range(len(columns))]]
    rows += [[markdown(column.shown(line)) for column in columns] for line in facts.lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def metadata(facts: Facts) -> ModelCardData:
    """The metadata that the Hub reads (https://huggingface.co/docs/hub/model-cards#model-card-metadata)."""
    spec = facts.spec
    known: dict[str, Any] = facts.records["fetch"].metrics.get("card") or {}
    data: dict[str, Any] = {"library_name": "gguf", "pipeline_tag": "text-generation"}
    data["tags"] = ["gguf", "llama.cpp", *(["qlora"] if spec.training and spec.load.bits == 4 else [])]
    if model_place(spec.model.id) == "hub":
        data["base_model"] = spec.model.id
        data["base_model_relation"] = "finetune" if facts.tuned else "quantized"
    if spec.publish.hub:
        data["quantized_by"] = spec.publish.hub.repo_id.split("/")[0]
    datasets = [one.id for one in spec.datasets if data_place(one.id) == "hub"]
    if datasets and spec.training:
        data["datasets"] = datasets
    data |= {key: known[key] for key in ("license", "license_name", "license_link", "language") if known.get(key)}
    return ModelCardData(**data)
