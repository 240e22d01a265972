"""The GPU that a user asks for with --gpu and related options, and whether these fit together."""

import re
import sys
from typing import Any

from job.artifacts import Frozen
from job.nearest import guess
from job.predict.gpus import GPUS, Gpu
from k8s.errors import GpuUnavailable, LauncherError, SettingsInvalid
from k8s.placement.cards import ASSUMED, at_least, cards_named, is_known
from k8s.placement.gpu_names import GPU_NAMES, names_of_card, size_of
from k8s.placement.kinds import Kind, kinds
from k8s.placement.nodes import Expression, Term, Toleration
from k8s.placement.platforms import PLATFORMS, PlatformName

_PROFILE = re.compile(r"[1-7]g\.(?P<gb>[0-9]+)gb(\.me)?")
CLOUDS = {"gcp": "gke", "google": "gke", "aws": "eks", "amazon": "eks", "azure": "aks", "on-premises": "gfd"}
"""The platform of a cloud's name."""
_LABEL = re.compile(r"(?P<key>([a-z0-9.-]{1,253}/)?[\w.-]{1,63})=(?P<values>[\w.-]{1,63}(,[\w.-]{1,63})*)", re.ASCII)


class Wish(Frozen):
    """The requested GPU. `needs`: predicted bytes of VRAM."""

    gpus: tuple[str, ...] = ("auto",)
    """Names of job/predict/gpus.py, products of GPU Feature Discovery and sizes (k8s/placement/cards.py): any of them
    is accepted. `auto`: the smallest with `needs`. `none`: the CPU."""
    seen: dict[str, Gpu] = {}
    """What the nodes say of cards that are not in the table."""
    needs: int | None = None
    platform: PlatformName | None = None
    """Overrides the platform detected from the nodes."""
    label: str | None = None
    """`key=value` (or `key=a,b`): the label that identifies a GPU in this cluster."""
    spot: bool = False
    shared: bool = False
    mig: str = ""
    """A MIG profile, e.g. 1g.5gb."""
    force: bool = False
    """Whether a placement is given even if no node has the GPU, or the GPU has too little memory."""
    tolerations: tuple[Toleration, ...] = ()
    """Further tolerations, for taints that are not about GPUs."""

    @classmethod
    def of(cls, text: str, **options: Any) -> "Wish":
        """From the value of --gpu: `t4`, `t4,l4,a10`, `a100`, `auto`, `none`. Raises SettingsInvalid."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        platform = options.get("platform")
        if platform is not None and platform not in PLATFORMS:
            meant = guess(platform, PLATFORMS, aliases=CLOUDS, most=1)
            raise SettingsInvalid(
                f"--platform: {platform[:40]!r} is not known{meant}", hint=f"Known: {', '.join(PLATFORMS)}."
            )
        if len(names) == 1 and names[0].lower() in ("auto", "none"):
            return cls(gpus=(names[0].lower(),), **options)
        needs = None if options.get("force") else options.get("needs")
        found = [at_least(card, needs) for name in names for card in cards_named(name)]
        if not found:
            raise SettingsInvalid("--gpu is empty", hint=f"Name one: {', '.join(GPUS)}; or auto, or none for the CPU.")
        return cls(gpus=tuple(dict.fromkeys(found)), **options)

    @property
    def is_auto(self) -> bool:
        return self.gpus == ("auto",)

    @property
    def sizes(self) -> list[str]:
        """Those of `gpus` that stand for any card with so much memory."""
        return [name for name in self.gpus if size_of(name)]

    def gpu_of(self, name: str) -> Gpu:
        """A card. Of one that is not in the table and was not seen, the memory is that of its size, or 0: unknown."""
        return GPUS.get(name) or self.seen.get(name) or Gpu(name, size_of(name) or 0, ASSUMED)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return kinds(self.shared, self.mig)

    @property
    def named(self) -> Term:
        """The label as a requirement."""
        label = _LABEL.fullmatch(self.label or "")
        return (Expression(label["key"], "In", tuple(label["values"].split(","))),) if label else ()


def cards_of(wish: Wish) -> list[str]:
    """The cards that can be what is asked for, from the smallest; none on the CPU. Nothing is asked of a cluster.

    Raises SettingsInvalid if the parts of a wish do not fit together, and GpuUnavailable if no card suits.
    """
    if wish.gpus == ("none",):
        _check_none(wish)
        return []
    _check(wish)
    names = [name for name in (GPUS if wish.is_auto else wish.gpus) if _suits(wish, name)]
    if not names:
        raise _too_small(wish)
    return names


def _check_none(wish: Wish) -> None:
    of_card = {"--spot": wish.spot, "--shared": wish.shared, "--mig": wish.mig, "--gpu-label": wish.label}
    if given := [flag for flag, value in of_card.items() if value]:
        raise SettingsInvalid(
            f"--gpu none is the CPU, and {', '.join(given)} {'is' if len(given) == 1 else 'are'} for a GPU",
            hint="Leave it out; --node-selector NAME=value and --toleration lead to other nodes.",
        )


def _check(wish: Wish) -> None:
    if wish.shared and wish.mig:
        raise SettingsInvalid("--shared and --mig cannot be combined", hint="Remove one of them.")
    if wish.mig and not _PROFILE.fullmatch(wish.mig):
        raise SettingsInvalid(f"--mig: {wish.mig[:40]!r} is not a MIG profile", hint="Write e.g. 1g.5gb or 3g.40gb.")
    if wish.label and not _LABEL.fullmatch(wish.label):
        raise SettingsInvalid(f"{wish.label[:80]!r} is not a label", hint="Write key=value, or key=value1,value2.")
    if wish.label and (wish.is_auto or wish.sizes):
        raise SettingsInvalid("a label is given without a GPU", hint="Name the GPU that it stands for, e.g. --gpu t4.")
    if wish.mig and wish.sizes:
        raise SettingsInvalid(
            f"--mig and a size ({wish.sizes[0]}) cannot be combined: a profile says how much memory its slice has",
            hint="Name the card, e.g. --gpu a100, or auto.",
        )
    if wish.spot and (wish.label or (wish.platform and not PLATFORMS[wish.platform].spot())):
        raise SettingsInvalid(
            "the label of spot nodes is unknown on this platform",
            hint="Leave --spot out, and name a label that only spot nodes with this GPU have.",
        )
    if wish.platform == "custom" and not wish.label:
        raise SettingsInvalid(
            "platform custom needs the label that identifies the GPU", hint="Add --gpu-label key=value."
        )


def check_labels_known(wish: Wish) -> None:
    """Raises SettingsInvalid if nothing says how nodes that cannot be read are labelled."""
    if not wish.platform and not wish.label:
        known = ", ".join(name for name in PLATFORMS if name != "custom")
        raise SettingsInvalid(
            "the nodes cannot be read, so the labels of GPUs are unknown here",
            hint=f"Name the platform: --platform {known}.",
        )


def _suits(wish: Wish, name: str) -> bool:
    """Whether this card can satisfy the wish."""
    if wish.mig and not names_of_card(name).mig:
        return False
    named = wish.force and not wish.is_auto
    unknown = name not in wish.seen and not is_known(name)
    return named or unknown or memory_of(wish, name) >= (wish.needs or 0)


def memory_of(wish: Wish, name: str) -> int:
    """Bytes of VRAM of one unit of the card."""
    slice_ = _PROFILE.fullmatch(wish.mig)
    # A slice has some hundred MB less than its name says (1g.5gb has 4864 MiB).
    whole = wish.gpu_of(name).memory
    return min(whole or sys.maxsize, int(slice_["gb"]) * 950_000_000) if slice_ else whole


def _too_small(wish: Wish) -> LauncherError:
    """The error if none of the named cards satisfies the wish."""
    if wish.mig and not wish.is_auto and not any(names_of_card(name).mig for name in wish.gpus):
        can = ", ".join(name for name in GPUS if GPU_NAMES[name].mig)
        return SettingsInvalid(f"{', '.join(wish.gpus)}: this GPU has no MIG", hint=f"GPUs with MIG: {can}.")
    needs = (wish.needs or 0) / 1e9
    larger = [name for name, gpu in GPUS.items() if gpu.memory >= (wish.needs or 0)]
    advice = f"GPUs with enough: {', '.join(larger)}." if larger else "No known GPU has enough."
    return GpuUnavailable(
        f"the run needs {needs:.1f} GB of VRAM, but {', '.join(wish.gpus)} has less",
        hint=f"{advice} `python -m job plan` shows how to make the run smaller; `launch --force` sends it as it is.",
    )
