"""The comparison as one HTML file, without a script."""

from collections.abc import Sequence

from job.report.frame import framed
from k8s.results.compare import Entry
from k8s.results.curves import curves, svg
from k8s.results.tables import plain, tables


def page(runs: Sequence[Entry]) -> str:
    """The HTML."""
    found = curves(runs)
    return framed(
        "k8s.results",
        title=" · ".join(plain(one.id) for one in runs),
        heading=f"{len(runs)} runs side by side",
        tables=tables(runs),
        picture=svg(found),
        apart=[one.name for one in found if one.apart],
    )
