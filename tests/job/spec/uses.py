"""What a run does with a spec, as plain values: each function does the real thing on little data."""

import json
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from job.artifacts import Artifact, sha256_of
from job.errors import JobError, SpecInvalid
from job.evaluate import gate
from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.fetch.identity import run_id
from job.publish.hub import HubPublisher
from job.publish.publisher import Publisher
from job.run.folders import store_url
from job.run.records import StageRecord
from job.spec import JobSpec
from job.spec.naming import file_names
from job.tasks import stage as tasks_stage
from job.tasks.stage import Asked
from tests.hub_server import Hub
from tests.job.fetch.models import GOOD, safetensors


@dataclass
class Ground:
    """Where runs are tried: a folder, a Hub, and a tiny model with its adapter for what needs one."""

    root: Path
    hub: Hub
    model: Path | None = None
    adapter: Path | None = None
    numbers: Any = field(default_factory=count)

    def folder(self) -> Path:
        path = self.root / str(next(self.numbers))
        path.mkdir(parents=True)
        return path


def jsonl(rows: list[Any]) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def _book(what: str) -> bytes:
    """Two columns of text."""
    return jsonl([{"text": f"{what} {n}", "note": f"Note {n}"} for n in range(30)])


def _broken(what: str) -> bytes:
    rows = _book(what)
    return b"{\n{\n" + rows.splitlines(keepends=True)[0] + rows


def _chats(what: str) -> bytes:
    turns = [[("user", f"{what} {n}?"), ("assistant", f"It is {n}.")] for n in range(20)]
    return jsonl([{"messages": [{"role": role, "content": text} for role, text in chat]} for chat in turns])


def _cases(what: str) -> bytes:
    return jsonl([{"prompt": f"{what} {n}?", "expected": str(n)} for n in range(3)])


def fill(hub: Hub) -> None:
    """Models, an adapter and rows: in two configurations and splits, on two branches."""
    for kind, name, files, later in (
        (
            "model",
            "me/model",
            GOOD | {"chat_template.jinja": b"{{ messages }}"},
            {"model.safetensors": safetensors((0, 4))},
        ),
        ("model", "me/other-model", GOOD | {"model.safetensors": safetensors((0, 9))}, {}),
        ("model", "me/adapter", {"adapter_config.json": b"{}", "adapter_model.safetensors": safetensors((0, 2))}, {}),
        ("dataset", "me/rows", _splits(_broken, "Rows"), _splits(_broken, "Later rows")),
        ("dataset", "me/other-rows", _splits(_broken, "Other rows"), {}),
        ("dataset", "me/book", _splits(_book, "Lines"), _splits(_book, "Later lines")),
        ("dataset", "me/other-book", _splits(_book, "Other lines"), {}),
        ("dataset", "me/cases", _splits(_cases, "Cases"), _splits(_cases, "Later cases")),
        ("dataset", "me/other-cases", _splits(_cases, "Other cases"), {}),
        ("dataset", "me/chats", _splits(_chats, "Chats"), {}),
    ):
        hub.add(name, files, kind)  # type: ignore[arg-type]
        if later:
            hub.repos.commit(hub.repo(name, kind), "later", later, "later")  # type: ignore[arg-type]


def _splits(rows: Any, what: str) -> dict[str, bytes]:
    return {f"{c}/{s}.jsonl": rows(f"{what} of {c}, {s}") for c in ("one", "two") for s in ("train", "test", "third")}


def fetched(spec: JobSpec, ground: Ground) -> Any:
    """Models by their digests."""
    result = _fetched(spec, ground, want_data=False)
    return result if isinstance(result, str) else [result.model_digest, result.adapter_digest]


def read(spec: JobSpec, ground: Ground) -> Any:
    """The rows, the text to judge on, and the cases to score."""
    result = _fetched(spec, ground, want_model=False, want_text=True, want_tasks=True)
    if isinstance(result, str):
        return result
    rows = result.data and [path.read_text() for path in (result.data.train, result.data.eval) if path]
    return [rows, *(path and path.read_text() for path in (result.text, result.tasks))]


def asked(spec: JobSpec, ground: Ground) -> Any:
    """Whether a case and its answer fit into a model."""
    folder = ground.folder()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 1024}))
    case = Asked(source="a", text="a", ids=[1] * 9, expected="a", compare="exact", tolerance=0.0)
    try:
        return spec.evaluation.tasks and tasks_stage._check_length(spec, case, folder)
    except JobError as error:
        return error.message


def _fetched(spec: JobSpec, ground: Ground, **wanted: bool) -> fetch_stage.Result | str:
    try:
        inputs = fetch_stage.Inputs(sources=sources.resolve(spec), **wanted)
        return fetch_stage.run(spec, inputs, ground.folder())
    except JobError as error:
        return f"refused: {error.message}"


def identified(spec: JobSpec, ground: Ground) -> Any:
    """A name that is given is used; what hashes the whole spec would prove nothing."""
    return [spec.run.id and run_id(spec), store_url(spec, Path("work"))]


def published(spec: JobSpec, ground: Ground) -> Any:
    """The places, the names there, and the repository and branch that are made, or that an existing one is public."""
    publisher = Publisher(spec, "one")
    public, replaced = "", [place._replace for place in publisher._places]  # type: ignore[attr-defined]
    for place in publisher._places:
        if isinstance(place, HubPublisher):
            place.check_write()
            ground.hub.repo(place.repo_id).private = False
            try:
                place.check_write()
            except SpecInvalid as error:
                public = error.message
            ground.hub.repo(place.repo_id).private = bool(spec.publish.hub and spec.publish.hub.private)
    made = [(repo.id, repo.private, sorted(repo.branches)) for repo in ground.hub.repos.all.values()]
    for key in [key for key, repo in ground.hub.repos.all.items() if "gguf" in repo.id]:
        del ground.hub.repos.all[key]
    names = file_names(spec, "q8_0", [Artifact(path="model.gguf", sha256="", size=0)])
    return [[place.url for place in publisher._places], sorted(names.values()), made, public, replaced]


def gated(spec: JobSpec, ground: Ground) -> Any:
    """The verdict on a result that is a little worse in every way."""
    records = {
        "train": _record("train", loss_before=1.0, loss_after=1.1, text_trace=_LITTLE_FORGOTTEN),
        "quantize/q4_k_m": _record("quantize", bits_per_weight=5.0),
        "evaluate/q4_k_m": _record(
            "evaluate", type="q4_k_m", distance={"ratio": 1.2, "ratio_error": 0.0, "kld": 0.2, "kld_error": 0.0}
        ),
        "evaluate/f16": _record("evaluate", type="f16", ends={"first": 8, "answers": 10}),
        "tasks": _record("tasks", scores={"base": _SCORE, "tuned": _SCORE | {"against": "base", "drop": {"low": 0.1}}}),
    }
    try:
        return gate.check(spec, records)
    except JobError as error:
        return error.message


_SCORE = {"right": 40, "cases": 50, "low": 0.67, "high": 0.89, "against": None, "drop": None}
_LITTLE_FORGOTTEN = {"base": {"value": 10.0}, "tuned": {"value": 12.0}, "ratio_error": 0.0}


def _record(stage: str, **metrics: Any) -> StageRecord:
    return StageRecord(stage=stage, key="k", artifacts=[], metrics=metrics)


def hashes(folder: Path) -> dict[str, str]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}
