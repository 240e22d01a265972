"""The cases of `evaluation.tasks` in the parent: fetched, checked and made into tokens before a GPU is used."""

from job.artifacts import digest_of
from job.fetch import stage as fetch_stage
from job.pipeline.state import State
from job.spec.canonical import canonical
from job.spec.places import shown_places
from job.tasks import stage as tasks_stage
from job.tasks.stage import ASKED
from job.versions import TOKENIZING, versions

FORMAT = 1
"""Another way to ask has another number."""


def read_tasks(state: State) -> None:
    """Fetches the cases, checks them and makes them into tokens."""
    spec, tasks = state.spec, state.spec.evaluation.tasks
    if not tasks:
        return
    rows, data = state.files.tokens, state.known.fetched.get("data")
    kind = data["kind"] if data else "messages"
    depends = {
        "model": state.known.fetched["model_digest"],
        "cases": [state.known.sources.tasks, shown_places(canonical(tasks))],
        "chat": [spec.chat.template, spec.chat.system, rows.added],
        "kind": kind,
        "format": FORMAT,
        "versions": {name: versions().get(name) for name in TOKENIZING},
    }
    key = digest_of(depends)
    record = state.run.record("tasks", key)
    if record is None:
        state.run.attempt.doing("tasks", "tasks")
        wanted = fetch_stage.Inputs(sources=state.known.sources, want_model=False, want_data=False, want_tasks=True)
        cases = state.run.child(fetch_stage, wanted, "cases").tasks
        inputs = tasks_stage.Inputs(model=state.files.model.model, cases=cases, kind=kind, added=rows.added)
        found = state.run.child(tasks_stage, inputs, "tasks")
        metrics = found.model_dump(mode="json", exclude={"asked"})
        record = state.run.keep("tasks", key, found.asked.parent, [ASKED], metrics, depends)
    state.known.records["tasks"] = record
