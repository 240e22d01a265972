"""The comparison as one HTML file that opens without a network: no request, no script, and nothing that others have
written is taken for HTML."""

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from job.redaction import redact
from k8s.results.compare import Entry
from k8s.results.curves import curves, svg
from k8s.results.tables import plain, tables


def page(runs: Sequence[Entry]) -> str:
    """The HTML."""
    template = Environment(
        loader=PackageLoader("k8s.results", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    found = curves(runs)
    html = template.render(
        style=files("job.report").joinpath("page.css").read_text(encoding="utf-8"),
        title=" · ".join(plain(one.id) for one in runs),
        tables=tables(runs),
        picture=svg(found),
        apart=[one.name for one in found if one.apart],
    )
    return redact(html)
