"""What `launch` and `plan` share: what the options and the defaults ask for, and the plan in a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8s.output import say


def wish_of(
    gpu: str,
    platform: str | None,
    label: str | None,
    spot: bool,
    shared: bool,
    mig: str,
    tolerations: list[str],
    force: bool = False,
) -> Any:
    """A function that makes the wish from the predicted VRAM."""
    from k8s.manifest.parse import toleration
    from k8s.placement.wish import Wish

    def of(needs: int | None) -> Any:
        return Wish.of(
            gpu, needs=needs, platform=platform, label=label, spot=spot, shared=shared, mig=mig,
            tolerations=tuple(map(toleration, tolerations)), force=force,
        )  # fmt: skip

    return of


def where(
    known: Any, gpu: str | None, platform: str | None, spot: bool | None, queue: str | None
) -> tuple[str, str | None, bool, str | None]:
    """Where a run goes: the command line's wish, else that of the defaults."""
    gpu = known.get("gpu", gpu) or "auto"
    spot = False if spot is None and gpu == "none" else bool(known.get("spot", spot))  # a default is for GPUs
    return gpu, known.get("platform", platform), spot, known.get("queue", queue)


def check_used(unused: Mapping[str, object]) -> None:
    """Raises SettingsInvalid with what is wrong with options that nothing would read: each sentence whose value is
    true."""
    from k8s.errors import SettingsInvalid

    if found := [sentence for sentence, is_so in unused.items() if is_so]:
        raise SettingsInvalid("; ".join(found))


def hourly_prices(price: float | None, file: Path | None, known: Any) -> Any:
    """What an hour costs, by card: by one of the options, else by the defaults. Raises SettingsInvalid for both."""
    from k8s.placement.prices import read_prices, same_for_all

    check_used({"--price and --price-file say the same thing: leave one of them out": price is not None and file})
    if price is not None:
        return same_for_all(price)
    return read_prices(file) if file else known.prices()


def namespace_setting(named: str | None) -> dict[str, Any]:
    """The setting, if it was given; else the kubeconfig's counts."""
    return {"namespace": named} if named else {}


def show(prepared: Any) -> None:
    """Prints the plan in a few lines, and the notes."""
    size, placement = prepared.settings.resources, prepared.placement
    runs = f"{len(prepared.sweep)} runs" if prepared.sweep else "one run"
    models = dict.fromkeys(one.spec.model.id for one in prepared.sweep) or [prepared.spec.model.id]
    vram = ""
    if prepared.vram and placement.memory:
        vram = f" ({prepared.vram / 1e9:.1f} of {placement.memory / 1e9:.1f} GB VRAM)"
    say(
        f"{runs} of {', '.join(models)} on {', '.join(placement.gpus) or 'the CPU'}{vram}; requests "
        f"{size.cpu:g} CPU, {size.memory / 2**30:.0f} GiB memory, {size.disk / 2**30:.0f} GiB disk"
    )
    say(time_of_all(prepared), style="dim")
    if placement.nodes:
        more = " …" if len(placement.nodes) > 5 else ""
        say(f"suitable nodes now: {', '.join(placement.nodes[:5])}{more}", style="dim")
    for note in prepared.notes:
        say(f"note: {note}", style="warn")


def time_of_all(prepared: Any) -> str:
    """How long all runs take together, and after how long they are ended."""
    from job.predict.needs import duration

    likely, most = map(duration, prepared.seconds)
    return f"time: likely {likely}, at most {most}; ended after {duration(prepared.settings.deadline_s)}"
