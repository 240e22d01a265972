"""Test files stand alone: what several share lies in a module that is not one itself."""

import re

from tests import ROOT

_FROM_A_TEST = re.compile(
    r"^\s*(?:from|import)\s+(?:tests[\w.]*\.|\.+[\w.]*)test_\w+|^\s*from\s+tests[\w.]*\s+import\s+test_", re.M
)


def test_no_test_file_imports_from_another() -> None:
    files = (ROOT / "tests").rglob("*.py")
    assert [str(path.relative_to(ROOT)) for path in files if _FROM_A_TEST.search(path.read_text())] == []


def test_such_an_import_would_be_found() -> None:
    for line in ("from tests.job.test_errors import X", "    import tests.test_x", "from tests.job import test_errors"):
        assert _FROM_A_TEST.search(line)
