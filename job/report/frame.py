"""A page as one HTML file that opens without a network: the report, and the comparison of runs.

Its Content-Security-Policy forbids every request, and every script but the page's own. What others have written is
never taken for HTML, and redacted.
"""

import hashlib
from base64 import b64encode
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from job.redaction import redact

_SCRIPT = "<!-- script -->"


def framed(package: str, *, title: str, heading: str = "", script: str = "", **values: Any) -> str:
    """The HTML of a package's `page.html`, which extends frame.html. `heading`: if it is not the title."""
    loader = ChoiceLoader([PackageLoader(one, ".") for one in dict.fromkeys((package, "job.report"))])
    environment = Environment(
        loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.get_template("page.html").render(
        title=title,
        heading=heading,
        style=files("job.report").joinpath("page.css").read_text(encoding="utf-8"),
        script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode() if script else "",
        place_of_script=_SCRIPT,
        **values,
    )
    before, _, after = redact(html).rpartition(_SCRIPT)  # a script is not redacted: its hash is in the policy
    return f"{before}{f'<script>{script}</script>' if script else ''}{after}"
