"""The workflow's page about the runs that it has sent: a table with links."""

from urllib.parse import quote

from job.spec.places import model_place
from k8s.cluster.runs import Run
from k8s.output import lasted
from push.annotations import Origin
from push.changes import Change
from push.escape import block, code, one_line
from push.results import results
from push.train import Sent, card

_HOW = {"created": "sent", "again": "sent again, continues from its store", "joined": "existed already"}
FIRST = (
    "This is the first push of the branch: there is no commit to compare with, so nothing is sent. Later changes of "
    "specs are sent; or start a run by hand and name the files."
)
_KINDS = {"first": FIRST, "forced": "A force push: the branch's files before and after it were compared."}


def summary(change: Change, sent: list[Sent], origin: Origin, ends: dict[str, Run]) -> str:
    """Markdown. `ends`: the runs that were waited for, by name."""
    lines = ["### finetune-run", ""]
    if text := _KINDS.get(change.kind):
        lines += [text, ""]
    if sent:
        lines += ["| spec | run | | model | GPU | price | state |", "| --- | --- | --- | --- | --- | ---: | --- |"]
        lines += [_row(one, origin, ends) for one in sent]
    elif change.kind != "first":
        lines.append("No spec in `runs/` has changed: nothing was sent.")
    lines += ["", *(f"- {code(text)}" for text in change.ignored)]
    for run in ends.values():
        lines += results(run)
    notes = [f"{one.submitted.run.name}: {note}" for one in sent for note in one.prepared.notes]
    if notes:
        lines += ["", block("\n".join(notes))]
    if sent:
        names = " ".join(one.submitted.run.name for one in sent)
        lines += ["", f"`finetune-run logs -f NAME` follows a run. Names: {code(names)}"]
    return "\n".join(lines) + "\n"


def _row(one: Sent, origin: Origin, ends: dict[str, Run]) -> str:
    run = ends.get(one.submitted.run.name, one.submitted.run)
    spec = one.prepared.spec
    name = f"[{code(one.spec.name)}]({origin.files}{quote(one.spec.path)})" if origin.files else code(one.spec.name)
    price = one.estimate.price.counted
    cost = f"{price:.2f}" if price is not None else ""
    model = code(one_line(spec.model.id, 80))
    if model_place(spec.model.id) == "hub":
        model = f"[{model}](https://huggingface.co/{quote(spec.model.id)})"
    cells = [name, code(run.name), _HOW[one.submitted.how], model, code(card(one.prepared) or "CPU"), cost, state(run)]
    return f"| {' | '.join(cells)} |"


def state(run: Run) -> str:
    """`complete after 2h05m, cost 0.73`, `failed, exit code 64`."""
    if run.state == "complete":
        return f"complete after {lasted(run.seconds)}{_cost(run)}"
    if run.state == "failed":
        return (f"failed, exit code {run.code}" if run.code else "failed") + _cost(run)
    return run.state


def _cost(run: Run) -> str:
    """What its pods have cost, if the configuration has a price."""
    return "" if run.cost is None else f", cost {run.cost:.2f}"
