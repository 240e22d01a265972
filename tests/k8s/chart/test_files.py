"""What the chart has of Python is what Python writes now."""

import jsonschema
from ruamel.yaml import YAML

from k8s.chart.files import rows
from k8s.chart.schema import schema
from k8s.chart.values import DEFAULTS, ChartValues
from tests.k8s.chart.charts import CHART


def test_the_values_file_has_the_defaults_and_they_are_valid() -> None:
    values = YAML(typ="safe").load(CHART / "values.yaml")
    assert values == DEFAULTS
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(values, schema())


def test_every_value_says_what_it_is() -> None:
    silent = [name for name, _, what in rows(ChartValues()) if not what]
    assert not silent
