"""The chart as a package: linted, versioned, packed, and below another chart."""

import tomllib
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.k8s.chart.charts import CHART, LEAST, ROOT, helm, of_kind, template

pytestmark = pytest.mark.slow


def test_bare_lint_passes() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHART))


def test_the_chart_works_below_another_one(tmp_path: Any) -> None:
    above = tmp_path / "team"
    (above / "charts").mkdir(parents=True)
    (above / "charts" / "finetune-run").symlink_to(CHART)
    (above / "Chart.yaml").write_text(
        "apiVersion: v2\nname: team\nversion: 1.0.0\n"
        "dependencies: [{name: finetune-run, version: '*', condition: finetune-run.enabled}]\n"
    )
    values = {"global": {"team": "nlp"}, "finetune-run": LEAST | {"enabled": True}}
    assert of_kind(template(values, chart=above), "Job")["metadata"]["name"].startswith("mine-finetune-run-")
    assert template({"finetune-run": {"enabled": False}}, chart=above) == []


def test_the_chart_has_the_version_of_the_package() -> None:
    import job

    chart = YAML(typ="safe").load(CHART / "Chart.yaml")
    assert chart["appVersion"] == chart["version"] == job.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"][0] == "version"


def test_packaging_takes_along_all_that_is_needed_and_no_more(tmp_path: Any) -> None:
    helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("finetune-run-*.tgz")
    packed = of_kind(template(LEAST, chart=package), "Job")
    assert packed == of_kind(template(LEAST), "Job")
    assert package.stat().st_size < 100_000
