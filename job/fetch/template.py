"""Whether the model has a chat template, read from its small files before anything large is fetched, and what becomes
of the rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from job.chat.templates import own_template
from job.dataset import Source, common_kind, find_source
from job.dataset.rows import listed, shown
from job.errors import SpecInvalid
from job.fetch.listing import Listing
from job.spec import JobSpec
from job.spec.places import data_place, model_place
from job.spec.ready import READY

READY_YAML = "chat: {template: plain}"
"""What fits every vocabulary."""
OTHERS = ", ".join(name for name in READY if name != "plain")


def has_template(spec: JobSpec, commit: str, adapter_commit: str = "") -> bool:
    """Whether the spec sets `chat.template`, or the model or the adapter brings its own. `commit`: of those on the
    Hub."""
    listings = [Listing(spec.model.id, commit)]
    if spec.model.adapter:
        listings.append(Listing(spec.model.adapter, adapter_commit))
    return bool(spec.chat.template) or any(own_template(one.text) is not None for one in listings)


def check(spec: JobSpec, sources: Sequence[Source], templated: bool) -> None:
    """Raises SpecInvalid for rows and a model that do not fit together. `templated`: whether the model has a chat
    template."""
    if not templated:
        _check_chats(spec, sources)
    if spec.chat.system and sources and common_kind(list(sources), has_template=templated) != "messages":
        raise SpecInvalid(
            f"chat.system: the rows of {sources[0].name} are plain text, to which no system prompt can be added",
            hint="Leave it out"
            + (f", or make conversations of them with a chat template:\n  {READY_YAML}" if not templated else "."),
        )


def _check_chats(spec: JobSpec, sources: Sequence[Source]) -> None:
    """For a model without a template: refuses conversations that are to be trained or judged."""
    chats = [one for one in sources if one.layout.kind == "messages"]
    if not chats or not (spec.training or spec.evaluation.judge):
        return
    columns, hint = chats[0].layout.columns, ""
    if chats[0].layout.format == "alpaca" and "input" not in columns:
        pair = f"{{prompt: {columns['instruction']}, completion: {columns['output']}}}"
        hint = f"\nTo train plain text instead: dataset.format: prompt_completion, and dataset.columns: {pair}."
    raise SpecInvalid(
        f"the rows of {chats[0].name} are conversations (read as {chats[0].layout.format}), "
        f"but {spec.model.id} has no chat template",
        hint="Use the model's instruction-tuned version, or give it a template. This one fits every vocabulary (the "
        f"tokens of {OTHERS} are added where the model lacks them):\n  {READY_YAML}{hint}",
    )


def described(spec: JobSpec, sources: Sequence[Source], templated: bool | None) -> Iterator[str]:
    """A sentence on each data set: how its rows are read, and what becomes of them. `templated`: whether the model has
    a chat template; None if that is not known."""
    if not sources:
        return
    kind = common_kind(list(sources), has_template=templated is not False)
    for one in sources:
        columns = listed(one.layout.columns.values())
        yield f"{one.name}: read as {one.layout.format} ({columns}); {_become(spec, one, kind, templated)}"


def _become(spec: JobSpec, one: Source, kind: str, templated: bool | None) -> str:
    model, plain = spec.model.id, _plain(one)
    if kind == "messages" and templated:
        keeps = "; dataset.format: prompt_completion keeps plain text" if one.layout.kind != "messages" else ""
        return f"conversations in the chat template{'' if spec.chat.template else f' of {model}'}{keeps}"
    if kind == "messages" and one.layout.kind == "messages":
        return f"conversations, for which {model} needs a chat template"
    if kind == "messages":
        return f"conversations if {model} has a chat template, else {plain}"
    if kind == "text":
        return "plain text"
    if templated is False:
        return f"{plain}, because {model} has no chat template. To train conversations:\n  {READY_YAML}"
    return f"{plain}, as dataset.format says"


def _plain(one: Source) -> str:
    """How a pair becomes plain text, and the first of them."""
    if one.layout.kind != "prompt_completion":
        return "plain text"
    prompt, completion = one.layout.columns["prompt"], one.layout.columns["completion"]
    between = "a line break, " if one.layout.between else ""
    first = f"{shown(one.first.get(prompt))}, {between}{shown(one.first.get(completion))}"
    return f"plain text: {listed([prompt])}, {between}then {listed([completion])} (the first row: {first})"


def is_guessed_plain(sources: Sequence[Source], templated: bool) -> bool:
    """Whether questions and answers become plain text only because the model has no chat template."""
    plain = not templated and common_kind(list(sources), has_template=False) == "prompt_completion"
    return plain and not any(one.keeps_pairs for one in sources)


def described_here(spec: JobSpec, commit: str | None = None) -> Iterator[str]:
    """The same for the data sets that are files or folders here. `commit`: that of the model, if it may be asked; a
    model in a folder is always. Raises SpecInvalid for conversations without a template, and DataInvalid."""
    here = [(one, Path(one.id).expanduser()) for one in spec.datasets if data_place(one.id) == "path"]
    sources = [find_source(one, path) for one, path in here if path.exists()]
    in_folder = model_place(spec.model.id) == "path" and Path(spec.model.id).expanduser().is_dir()
    known = spec.chat.template or commit is not None or in_folder
    templated = has_template(spec, commit or "") if known else None
    if templated is not None:
        check(spec, sources, templated)
    return described(spec, sources, templated)
