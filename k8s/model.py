"""The models of a launch: whether a run would refuse them, their sizes, the VRAM that they take."""

from collections.abc import Mapping, Sequence
from typing import Any

from job.errors import DataInvalid, IntegrityViolated, JobError, SpecInvalid
from job.predict.anatomy import Anatomy
from job.predict.config import Seen, seen_here
from job.predict.gpus import GPUS, Gpu
from job.predict.prediction import Prediction, predict
from job.predict.refused import check_seen
from job.predict.timing import Machine
from job.spec import JobSpec
from job.strict_json import dumps
from k8s.errors import SettingsInvalid
from k8s.manifest.settings import GIB, Resources
from k8s.placement.wish import Wish


def models_of(specs: Sequence[JobSpec]) -> list[Seen]:
    """What can be seen here of each run's model. Raises SpecInvalid, DataInvalid and IntegrityViolated for models that
    the job would refuse."""
    known: dict[tuple[str, str], Seen] = {}
    seen = []
    for spec in specs:
        place = (spec.model.id, spec.model.revision)
        known[place] = known.get(place) or seen_here(spec)
        check_seen(spec, known[place])
        seen.append(known[place])
    return seen


def rehearse(specs: Sequence[JobSpec]) -> list[str]:
    """Takes each model's way through a run without its weights, if all that the job needs for it is installed here.
    Notes what it warns of. Raises SpecInvalid, DataInvalid and IntegrityViolated, as the job would."""
    from job.rehearsal.needs import lacking

    if not specs or lacking():
        return []
    from job import logs
    from job.rehearsal import here
    from job.sentences import sentence

    notes: list[str] = []
    logs.configure(
        lambda record: notes.append(sentence(record)) if record.get("level") == "warning" else None, to_stdout=False
    )
    for one in {dumps(_decides(one)): one for one in specs}.values():
        try:
            here.rehearse_here(one)
        except (SpecInvalid, DataInvalid, IntegrityViolated):
            raise
        except JobError as error:
            notes.append(f"{one.model.id} cannot be rehearsed here: {error.message}")
    return list(dict.fromkeys(notes))


def _decides(spec: JobSpec) -> dict[str, Any]:
    """What the end of a rehearsal depends on."""
    training = spec.training and [spec.training.trainer, spec.training.attn_implementation]
    parts = {name: getattr(spec, name).model_dump(mode="json") for name in ("model", "load", "lora", "chat")}
    return parts | {"training": training, "export": [spec.export.unquantized, spec.export.merge_base]}


def notes_on(seen: Sequence[Seen], wish: Wish, resources: Mapping[str, Any]) -> list[str]:
    """What is to be said of how the models' sizes are known. Raises SettingsInvalid if a GPU is to be chosen, and one
    of them is not known."""
    notes = [one.why if one.model else _ask_for_sizes(wish, one.why, resources) for one in seen]
    return list(dict.fromkeys(filter(None, notes)))


def _ask_for_sizes(wish: Wish, why: str, resources: Mapping[str, Any]) -> str:
    """The note for a run of which nothing can be predicted. Raises SettingsInvalid if a GPU is to be chosen for it."""
    default = Resources()
    sizes = {"--memory": default.memory, "--disk": default.disk}
    missing = [f"{flag} ({size / GIB:.0f} GiB by default)" for flag, size in sizes.items() if flag[2:] not in resources]
    if wish.is_auto:
        raise SettingsInvalid(
            f"--gpu auto: no GPU can be chosen: {why.partition(';')[0]}",
            hint=f"Name a card with --gpu{''.join(f', and set {flag}' for flag in missing)}; or make the model's "
            "config.json and its weights' headers readable from here (HF_TOKEN, HF_ENDPOINT, AWS's variables).",
        )
    return f"{why}{'; check ' if missing else ''}{' and '.join(missing)}"


def least_vram(specs: Sequence[JobSpec], models: Sequence[Anatomy | None], cards: Sequence[Gpu]) -> int | None:
    """Bytes of VRAM from which on a card suits each run whose model is known; None if none is. A run needs more on a
    card without bfloat16 if its family does not fit float16, so each card is asked for its own."""
    needs = {}
    for card in cards or GPUS.values():
        runs = zip(specs, models, strict=True)
        each = [vram_needed(spec, predict(spec, model, Machine(card), exact=False)) for spec, model in runs]
        known = [one for one in each if one is not None]
        if not known:
            return None
        needs[card] = max(known)
    fit = [card for card, need in needs.items() if need <= card.memory]
    if not fit:
        return max(needs.values())
    smallest = min(card.memory for card in fit)
    unfit = [card.memory + 1 for card in needs if card not in fit and card.memory < smallest]
    return max(min(needs[card] for card in fit), *unfit, 0)


def vram_needed(spec: JobSpec, found: Prediction) -> int | None:
    """Bytes on the GPU while training; 0 if nothing is trained, None if unknown."""
    if spec.training is None:
        return 0
    return found.vram.total if found.vram else None
