"""Downloads the model, the adapter to start from, and the data, and prepares the rows.

<workdir>/model/      the base model, if it is downloaded; a folder is used in place
          adapter/    the same for `model.adapter`
          model-view/, adapter-view/    links to what may be loaded of them
          sources/    data sets as downloaded
          data/       train.jsonl, eval.jsonl
          text.txt    `evaluation.text`
          cases.jsonl `evaluation.tasks`
"""

from pathlib import Path
from typing import Any

from job import hub
from job.artifacts import Frozen, digest_of
from job.chat.templates import text_of
from job.dataset import Prepared, Wanted, files_wanted, find_source, prepare, write_text
from job.dataset.card import card_head
from job.fetch import https, template
from job.fetch.float16 import Beyond, beyond_float16
from job.fetch.inputs import check_content, hashes_of
from job.fetch.model import bring, download_objects, folder_digest
from job.fetch.objects import objects_at
from job.fetch.sources import Sources, fingerprint
from job.llama_cpp.windows import SOUND
from job.logs import log
from job.spec import JobSpec
from job.spec.places import STORES, data_place, shown_place
from job.spec.sections import Dataset
from job.tasks.cases import write_cases

_CARD = ("license", "license_name", "license_link", "language")

NAME = "fetch"


class Inputs(Frozen):
    """Which parts to fetch: a later attempt often needs only one of them."""

    sources: Sources
    want_model: bool = True
    want_data: bool = True
    want_text: bool = False
    want_tasks: bool = False


class Result(Frozen):
    """Digests are over the names and SHA-256 of the files that matter; the model's includes an adapter whose tokenizer
    is used. `card`: facts of the model's card."""

    model: Path
    model_digest: str
    adapter: Path | None
    adapter_digest: str | None
    data: Prepared | None
    card: dict[str, Any]
    text: Path | None = None
    tasks: Path | None = None
    beyond_float16: Beyond | None = None


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises NotFound, CredentialsRejected, RemoteUnavailable, DataInvalid, IntegrityViolated, StorageFailed."""
    model = adapter = data = None
    card: dict[str, Any] = {}
    sources = inputs.sources
    model_digest = adapter_digest = None
    beyond = None
    if inputs.want_data and spec.datasets:  # before the model: rows that cannot be used cost no large download
        data = _prepare(spec, sources, workdir)
    if inputs.want_model:
        brought = bring(spec, sources, workdir)
        model, adapter = brought.model, brought.adapter
        model_digest, card = folder_digest(brought.model_folder), _card(brought.model_folder)
        beyond = beyond_float16(sorted(model.glob("*.safetensors")), spec.model.id)
        if brought.adapter_folder:
            adapter_digest = folder_digest(brought.adapter_folder, adapter=True)
            if brought.brings_tokenizer:
                model_digest = digest_of([model_digest, adapter_digest])
                log.info("fetch.adapter_tokenizer", what=f"tokenizer and template of {spec.model.adapter} are used")
    text = None
    if inputs.want_text and spec.evaluation.text and sources.text:
        dataset = spec.evaluation.text.dataset
        text = write_text(
            dataset, _bring_data(dataset, sources.text, workdir / "sources" / "text"), workdir / "text.txt"
        )
    cases = None
    if inputs.want_tasks and spec.evaluation.tasks and sources.tasks:
        dataset = spec.evaluation.tasks.dataset
        path = _bring_data(dataset, sources.tasks, workdir / "sources" / "tasks")
        cases = write_cases(dataset, path, workdir / "cases.jsonl")
    return Result(
        model=model or workdir,
        model_digest=model_digest or "",
        adapter=adapter,
        adapter_digest=adapter_digest,
        data=data,
        card=card,
        text=text,
        tasks=cases,
        beyond_float16=beyond,
    )


def _prepare(spec: JobSpec, sources: Sources, workdir: Path) -> Prepared:
    """The rows of all data sets, as the model's chat template or its absence asks for them."""
    sets = [
        (one, _bring_data(one, pin, workdir / "sources" / str(number)))
        for number, (one, pin) in enumerate(zip(spec.datasets, sources.datasets, strict=True))
    ]
    templated = template.has_template(spec, sources.model, sources.adapter or "")
    found = [find_source(one, path) for one, path in sets]
    template.check(spec, found, templated)
    tell = log.warning if found and template.is_guessed_plain(found, templated) else log.info
    for line in template.described(spec, found, templated):
        tell("data.read_as", what=line)
    data = prepare(
        sets,
        seed=spec.run.seed,
        system=spec.chat.system,
        out=workdir / "data",
        has_template=templated,
        wanted=held_out_wanted(spec),
    )
    log.info("fetch.rows", train=data.rows, held_out=data.eval_rows, broken=data.broken, kind=data.kind)
    return data


def held_out_wanted(spec: JobSpec) -> Wanted:
    """What `dataset.eval_fraction: auto` should hold out, for a run's files to be judged soundly."""
    return Wanted(min(SOUND, spec.evaluation.max_tokens), spec.training.max_length if spec.training else None)


def _bring_data(one: Dataset, pin: str, folder: Path) -> Path:
    """One data set as a local file or folder."""
    where = data_place(one.id)
    if where == "https":
        name = Path(shown_place(one.id)).name
        path = folder / ("data" if name in ("", "..") else name)
        https.download(one.id, path)
        return path
    if where in STORES:
        store, names, single = objects_at(one.id)
        if not single:
            names = [*files_wanted(names, one), *(name for name in names if name == "README.md")]
        download_objects(store, names, folder, hashes_of(one.id))
        _tell_if_changed(one.id, pin)
        return folder / names[0] if single else folder
    if where == "path":
        check_content(one.id)
        return Path(one.id).expanduser().resolve()
    files = hub.list_files(one.id, pin, "dataset")
    readme = next((file for file in files if file.path == "README.md"), None)
    text = hub.read_small(one.id, pin, readme, folder, "dataset") if readme else None
    wanted = set(files_wanted([file.path for file in files], one, text))
    hub.download(one.id, pin, [file for file in files if file.path in wanted], folder, "dataset")
    return folder


def _tell_if_changed(place: str, pin: str) -> None:
    if fingerprint(place) != pin:
        what = f"{place} has changed since this run began; what was there when it was read is used"
        log.warning("data.changed", what=what)


def _card(model: Path) -> dict[str, Any]:
    """The facts of README.md's YAML head that a card of a derived model repeats."""
    facts = card_head(text_of(model / "README.md"))
    return {key: fact for key in _CARD if (fact := _short(facts.get(key)))}


def _short(fact: Any) -> Any:
    """A text, or a list of texts, as long as a card repeats; else None."""
    if isinstance(fact, list):
        return [text for text in fact[:100] if _is_short(text)]
    return fact if _is_short(fact) else None


def _is_short(fact: Any) -> bool:
    return isinstance(fact, str) and len(fact) <= 500
