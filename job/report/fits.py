"""What the search for a file within a budget has found, for card and page."""

from collections import defaultdict
from typing import Any, NamedTuple

from job.report.basis import Records

PREFIX = "fit/"


class Fitted(NamedTuple):
    """One search. `kld` and `preset_kld`: of the found mix and of the best preset, with their standard errors, on the
    half that decides; `points`: size and divergence of what was measured there and in the search."""

    type: str
    budget: str
    published: str
    judgings: int
    kld: tuple[float, float]
    preset: str
    preset_kld: tuple[float, float]
    mix: list[tuple[str, str]]
    found: tuple[float, float]
    presets: list[tuple[str, float, float]]
    searched: list[tuple[float, float]]

    @property
    def is_published(self) -> bool:
        return self.published == self.type

    @property
    def less(self) -> float:
        """The share by which the mix's divergence is less than the preset's."""
        return 1 - self.kld[0] / self.preset_kld[0] if self.preset_kld[0] else 0.0


def fits_of(records: Records) -> list[Fitted]:
    return [_fitted(one.metrics) for name, one in records.items() if name.startswith(PREFIX)]


def _fitted(metrics: dict[str, Any]) -> Fitted:
    presets, found, budget = metrics["presets"], metrics["found"], metrics["budget"]
    best = min(presets, key=lambda kind: (presets[kind]["kld"], presets[kind]["size"]))
    context = f" with {budget['context']:,} tokens of context" if budget["context"] else ""
    return Fitted(
        type=metrics["type"],
        budget=f"{budget['fit']}{context}",
        published=metrics["published"],
        judgings=len(metrics["searched"]),
        kld=(found["kld"], found["error"]),
        preset=best,
        preset_kld=(presets[best]["kld"], presets[best]["error"]),
        mix=_by_type(metrics["mix"]),
        found=(found["size"], found["kld"]),
        presets=[(kind, one["size"], one["kld"]) for kind, one in presets.items()],
        searched=[(one["size"], one["kld"]) for one in metrics["searched"]],
    )


def _by_type(mix: dict[str, str]) -> list[tuple[str, str]]:
    """Each type with its groups."""
    groups: dict[str, list[str]] = defaultdict(list)
    for group, kind in mix.items():
        groups[kind].append(group)
    return [(kind, ", ".join(names)) for kind, names in groups.items()]
