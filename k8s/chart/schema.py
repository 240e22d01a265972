"""The JSON Schema of the chart's values (draft 7, which every version of Helm supports)."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from job.spec.schema import schema as spec_schema
from k8s.chart.values import AcceptedValues

NUMBER = r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$"
"""`--set` turns 2e-4, 0.1 and 012 into texts; the job reads them as numbers."""
UNSEEN = {
    "enabled": {"type": "boolean", "description": "For the condition of a parent chart."},
    "global": {"type": "object", "description": "Helm's global values; not used here."},
}


class _Plain(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """The schema of values.yaml. The spec's model and dataset may be missing, so that `helm lint` passes; the template
    reports that."""
    made = AcceptedValues.model_json_schema(by_alias=True, schema_generator=_Plain)
    spec = spec_schema()
    named = {name: _numbers(one) for name, one in spec.pop("$defs").items()}
    spec = _numbers({key: value for key, value in spec.items() if key not in ("$schema", "required", "title")})
    made["$defs"] = made.get("$defs", {}) | named | {"JobSpec": spec}
    made["properties"] |= UNSEEN
    about = made["properties"]["spec"]
    made["properties"]["spec"] = {"$ref": "#/$defs/JobSpec", "description": about["description"]}
    made.pop("description")
    text = json.dumps(made, allow_nan=False).replace("#/$defs/", "#/definitions/")
    found: dict[str, Any] = json.loads(text, object_hook=_closed)
    found["definitions"] = found.pop("$defs")
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of finetune-run"} | found


def _closed(node: dict[str, Any]) -> dict[str, Any]:
    """Refuses names that match no pattern, which pydantic leaves out."""
    return node | ({"additionalProperties": False} if "patternProperties" in node else {})


def _numbers(node: Any) -> Any:
    """The schema with numbers also allowed as texts."""
    if isinstance(node, list):
        return [_numbers(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: value if key in ("default", "enum", "const") else _numbers(value) for key, value in node.items()}
    if node.get("type") in ("integer", "number"):
        about = {key: found.pop(key) for key in ("default", "description") if key in found}
        return {"anyOf": [found, {"type": "string", "pattern": NUMBER}]} | about
    return found
