"""What the Hub asks of a model card's head (https://huggingface.co/docs/hub/model-cards#model-card-metadata)."""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")
RULES: dict[str, Any] = {
    "base_model": lambda value: bool(REPO.fullmatch(str(value))),
    "base_model_relation": lambda value: value in ("adapter", "merge", "quantized", "finetune"),
    "datasets": lambda value: isinstance(value, list) and all(REPO.fullmatch(str(one)) for one in value),
    "language": lambda value: all(re.fullmatch(r"[a-z]{2,3}|code|multilingual", one) for one in as_list(value)),
    "library_name": lambda value: isinstance(value, str),
    "license": lambda value: bool(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", str(value))),
    "pipeline_tag": lambda value: value == "text-generation",
    "quantized_by": lambda value: isinstance(value, str),
    "tags": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def faults_of(card: str) -> list[str]:
    """Every fault of the head, or nothing."""
    found = re.match(r"---\n(.*?)\n---\n", card, re.S)
    if not found:
        return []  # the Hub warns of that, and takes it
    try:
        head = YAML(typ="safe").load(found[1])
    except YAMLError as error:
        return [str(error)]
    if not isinstance(head, dict):
        return ["the head is no mapping"]
    return [f"{key} must not be {head[key]!r}" for key, rule in RULES.items() if key in head and not rule(head[key])]
