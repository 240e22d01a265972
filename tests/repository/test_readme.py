"""The README says what the code does."""

import re

from job.errors import every_error
from tests import ROOT

README = (ROOT / "README.md").read_text()


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| ([a-z, ]+) \|$", README, flags=re.M)
    told = {int(code): action for code, action in rows}
    words = {"FailJob": "fail", "Ignore": "retry", "Count": "retry, counted"}
    assert told == {0: "done"} | {error.code: words[error.kubernetes] for error in every_error()}
