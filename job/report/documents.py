"""The texts and pictures that are published beside the files."""

from dataclasses import replace

from job.report import card, page, plots
from job.report.facts import Facts
from job.report.modelfile import modelfile
from job.run.records import for_people

PLOT, FIT_PLOT, PAGE = "plot.png", "plot-{}.png", "report/index.html"


def documents(facts: Facts) -> dict[str, bytes]:
    """Contents by published name: the model card, Ollama's Modelfile, the card's plot and the report."""
    facts = replace(facts, records=for_people(facts.records))
    found = {}
    if any(line.perplexity for line in facts.lines if line.size):
        found[PLOT] = plots.png(plots.sizes(facts.lines))
    found |= {FIT_PLOT.format(one.type): plots.png(plots.fit(one)) for one in facts.fits}
    found["README.md"] = card.card(facts, plot=PLOT if PLOT in found else None).encode()
    found["Modelfile"] = modelfile(facts.recommended[0], facts.form, facts.stops).encode()
    found[PAGE] = page.page(facts).encode()
    return found
