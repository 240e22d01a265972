"""Writes what the chart reads of Python: values.yaml, its schema, the Job's constant part, the placement, the table of
values in its README.

    python scripts/chart.py            # then: git diff helm/
"""

import sys
from pathlib import Path

CHART = Path(__file__).resolve().parents[1] / "helm" / "finetune-run"
sys.path.insert(0, str(CHART.parents[1]))

from k8s.chart.files import files  # noqa: E402


def main() -> None:
    for name, text in files((CHART / "README.md").read_text()).items():
        path = CHART / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {path.relative_to(CHART.parents[1])}")


if __name__ == "__main__":
    main()
