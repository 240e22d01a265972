"""The model of a launch: whether a run would refuse it, its sizes, the VRAM that it takes."""

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


def model_of(spec: JobSpec, specs: Sequence[JobSpec]) -> Seen:
    """What can be seen of the model here. Raises SpecInvalid, DataInvalid and IntegrityViolated for
    models that the job would refuse."""
    seen: dict[str, Seen] = {}
    for one in (spec, *specs):
        place = f"{one.model.id} {one.model.revision}"
        seen[place] = seen.get(place) or seen_here(one)
        check_seen(one, seen[place])
    return seen[f"{spec.model.id} {spec.model.revision}"]


def rehearse(specs: Sequence[JobSpec]) -> list[str]:
    """Takes each model's way through a run without its weights, if all that the job needs for it is installed here.
    Notes what it warns of. Raises SpecInvalid, DataInvalid and IntegrityViolated, as the job would."""
    from job import logs
    from job.rehearsal import here
    from job.sentences import sentence

    if here.lacking():
        return []
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


def ask_for_sizes(wish: Wish, why: str, resources: Mapping[str, Any]) -> str:
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


def least_vram(specs: Sequence[JobSpec], model: Anatomy | None, cards: Sequence[Gpu]) -> int | None:
    """Bytes of VRAM from which on a card suits; None if unknown. A run needs more on a card without bfloat16 if its
    family does not fit float16, so each card is asked for its own."""
    needs = {}
    for card in cards or GPUS.values():
        each = [vram_needed(one, predict(one, model, Machine(card), exact=False)) for one in specs]
        if None in each:
            return None
        needs[card] = max(one or 0 for one in each)
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
