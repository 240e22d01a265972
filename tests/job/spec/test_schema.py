"""The JSON Schema of a spec: every field described, every range in words of JSON Schema."""

import json
import re

from job.spec.schema import schema


def test_every_field_of_the_schema_is_described_and_nothing_unknown_is_allowed() -> None:
    sections = [schema(), *schema()["$defs"].values()]
    for section in sections:
        assert section["additionalProperties"] is False and section["description"]
        for name, field in section["properties"].items():
            assert field.get("description") or "$ref" in field, name
    types, budget = schema()["$defs"]["Export"]["properties"]["types"]["items"]["oneOf"]
    assert {"q4_k_m", "Q4_K_M", "q4_k", "f16"} <= set(types["enum"])
    assert budget == {"$ref": "#/$defs/Fit"}


def test_the_schema_has_every_range_in_words_that_json_schema_knows() -> None:
    text = json.dumps(schema())
    assert not re.search(r'"(gt|ge|lt|le)": [0-9.]+[,}]', text)
    rate = schema()["$defs"]["Training"]["properties"]["learning_rate"]
    assert (rate["exclusiveMinimum"], rate["maximum"], rate["default"]) == (0, 1, 2e-4)
