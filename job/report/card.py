"""The texts published beside the files: the model card `README.md` and Ollama's `Modelfile`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined

from job import llama
from job.artifacts import Artifact
from job.manifest import StageRecord
from job.naming import is_hub_id, public_name, run_name
from job.report import table
from job.spec import JobSpec
from job.versions import versions

_CARD = """---
{{ metadata }}
---

# {{ name }}

{{ base }}{% if tuned %}, fine-tuned{% if data %} on {{ data }}{% endif %} and{% else %},{% endif %} quantized to GGUF.

{{ table }}
{% if judged %}

{{ judged }}
{% endif %}

## Run it

```sh
llama-cli -m {{ first }}
ollama create {{ name | lower }} -f Modelfile && ollama run {{ name | lower }}
```

In LM Studio, put the file into a model folder. The chat template is in the GGUF.

{% if tuned %}
## How it was made

{% if training %}
{% set kind = " (" ~ load.quant_type ~ ")" if load.bits == 4 else "" %}
QLoRA: {{ load.bits }} bits{{ kind }}, rank {{ lora.r }}, alpha {{ lora.alpha }},
{{ training.learning_rate }} peak learning rate, {{ steps }} steps of {{ batch }} rows.
{% if loss_before is not none and loss_after is not none %}
Loss on the rows that were held out: {{ "%.3f" | format(loss_before) }} before, {{ "%.3f" | format(loss_after) }} after.
{% endif %}
{% endif %}
The adapter is merged into the original weights, tensor by tensor.

{% endif %}
Made with {{ versions }}.
"""


def documents(
    spec: JobSpec, files: Sequence[tuple[str, str, Artifact]], records: Mapping[str, StageRecord]
) -> dict[str, str]:
    """The texts by their file name. `files` are the published ones: name, type and artifact."""
    quants = [(name, kind, item) for name, kind, item in files if f"quantize/{kind}" in records]
    first = quants[0][0]
    return {"README.md": _card(spec, quants, records, first), "Modelfile": f"FROM ./{first}\n"}


def _card(
    spec: JobSpec, quants: list[tuple[str, str, Artifact]], records: Mapping[str, StageRecord], first: str
) -> str:
    train = records["train"].metrics if "train" in records else {}
    training = spec.training
    return (
        Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)
        .from_string(_CARD)
        .render(
            metadata=_metadata(spec, records),
            name=run_name(spec),
            base=public_name(spec.model.id),
            data=", ".join(public_name(one.id) for one in spec.datasets),
            tuned=training is not None or spec.model.adapter is not None,
            training=training,
            load=spec.load,
            lora=spec.lora,
            steps=train.get("steps"),
            batch=training.per_device_train_batch_size * training.gradient_accumulation_steps if training else 0,
            loss_before=train.get("loss_before"),
            loss_after=train.get("loss_after"),
            table=_table(quants, records),
            judged=_judged(records),
            first=first,
            versions=", ".join([*(f"{k} {v}" for k, v in versions().items()), llama.version()]),
        )
    )


def _table(quants: list[tuple[str, str, Artifact]], records: Mapping[str, StageRecord]) -> str:
    headings = table.headings(records)
    lines = [headings, tuple("---" if n < 2 else "---:" for n in range(len(headings)))]
    lines += table.cells([(f"`{name}`", kind) for name, kind, _ in quants], records)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _judged(records: Mapping[str, StageRecord]) -> str:
    """How the numbers of the table came about."""
    for record in records.values():
        metrics = record.metrics
        if "chunks" in metrics:
            base, speed = metrics["unquantized"], metrics["speeds"][0]
            return (
                f"Judged on {metrics['chunks'] * metrics['context']:,} tokens of rows that training never saw, in "
                f"windows of {metrics['context']}: the unquantized model's perplexity there is {base['value']:.3f} ± "
                f"{base['error']:.3f}. KLD (KL divergence, nats per token) and the share of tokens for which both find "
                "the same one likeliest are against the unquantized model. ms/token: generation on "
                f"{speed['device']}."
            )
    return ""


def _metadata(spec: JobSpec, records: Mapping[str, StageRecord]) -> str:
    """YAML that is also JSON, so that no value needs quoting rules."""
    known: dict[str, Any] = records["fetch"].metrics.get("card") or {}
    metadata: dict[str, Any] = {"library_name": "gguf", "pipeline_tag": "text-generation", "tags": ["gguf"]}
    if is_hub_id(spec.model.id):
        metadata["base_model"] = spec.model.id
        metadata["base_model_relation"] = "quantized" if spec.training is None else "finetune"
    datasets = [one.id for one in spec.datasets if is_hub_id(one.id)]
    if datasets and spec.training:
        metadata["datasets"] = datasets
    metadata |= {key: known[key] for key in ("license", "license_name", "license_link", "language") if known.get(key)}
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items())
