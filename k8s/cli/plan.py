"""`plan`."""

import typer

from k8s.cli.asked import hourly_prices, namespace_setting, show, where, wish_of
from k8s.cli.config import check_limits, in_effect
from k8s.cli.options import (
    Context,
    Dataset,
    Gpu,
    Label,
    Mig,
    Model,
    Namespace,
    Platform,
    Price,
    PriceFile,
    Sets,
    Shared,
    Shown,
    SpecFile,
    Spot,
    Tolerations,
)
from k8s.output import Output, result


def plan(
    gpu: Gpu = None,
    model: Model = None,
    dataset: Dataset = None,
    spec: SpecFile = None,
    sets: Sets = None,
    context: Context = None,
    namespace: Namespace = None,
    platform: Platform = None,
    label: Label = None,
    spot: Spot = None,
    shared: Shared = False,
    mig: Mig = "",
    tolerations: Tolerations = None,
    price: Price = None,
    price_file: PriceFile = None,
    output: Shown = Output.table,
) -> None:
    """Show what a run would do and need, and where it would run, without sending anything.

    Example: `finetune-run plan --spec my.yaml --gpu t4 --price 0.35`
    """
    from job.plan import describe
    from k8s.ask import LOCAL_IMAGE, ask, spec_from
    from k8s.cluster.client import cluster_or_none
    from k8s.placement.prices import price_of
    from k8s.prepare import prepare

    known = in_effect(context, namespace)
    gpu, platform, spot, _ = where(known, gpu, platform, spot, None)
    asked = ask(
        wish_of(gpu, platform, label, spot, shared, mig, tolerations or []),
        spec_from(spec, model, dataset, sets or []),
        image=LOCAL_IMAGE,
        pull_policy="Never",  # nothing is sent
        **namespace_setting(namespace),
    )
    prices = hourly_prices(price, price_file, known)
    prepared = prepare(cluster_or_none(context, namespace, needed=not platform and gpu != "none"), asked)
    check_limits(known, prepared)
    card = next(iter(prepared.placement.cards), None)
    if output is Output.table:
        typer.echo(describe(prepared.spec, card, price_of(prepared.placement, prices)))
        show(prepared)
        return
    value = prepared.model_dump(mode="json", include={"placement", "vram", "notes"})
    value["seconds"] = prepared.seconds._asdict()
    value["spec"] = prepared.spec.shown()
    result(value | {"resources": prepared.settings.resources.model_dump()}, output, (), ())


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(plan)
