"""Writes the generated files of the chart: values.yaml, its schema, the Job's constant part, the placement, the table
of values in its README.

scripts/chart.py            writes it; then: git diff helm/
scripts/chart.py --check    exits 1 if it is not what would be written
"""

import sys
from pathlib import Path

CHART = Path(__file__).resolve().parents[1] / "helm" / "finetune-run"
sys.path.insert(0, str(CHART.parents[1]))

from k8s.chart.files import files  # noqa: E402


def main() -> int:
    wanted = {CHART / name: text for name, text in files((CHART / "README.md").read_text()).items()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    check = sys.argv[1:] == ["--check"]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        print(f"{'not up to date' if check else 'written'}: {path.relative_to(CHART.parents[1])}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
