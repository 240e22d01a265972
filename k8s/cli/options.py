"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from k8s.output import Output
from k8s.placement.platforms import PLATFORMS

_WHERE, _RUN, _GPU, COST = "Where", "What", "GPU", "Cost"
Context = Annotated[str | None, typer.Option(help="A context of the kubeconfig.", rich_help_panel=_WHERE)]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="A namespace.", rich_help_panel=_WHERE)]
Shown = Annotated[Output, typer.Option("--output", "-o", help="Format of the output.")]
Name = Annotated[str, typer.Argument(help="The run's name, as `list` shows it.", show_default=False)]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait; the run goes on afterwards.", show_default=False)]
SpecFile = Annotated[
    Path | None,
    typer.Option("--spec", help="The job spec: a YAML or JSON file.", rich_help_panel=_RUN, show_default=False),
]
Model = Annotated[str | None, typer.Option(help="model.id", rich_help_panel=_RUN, show_default=False)]
Dataset = Annotated[str | None, typer.Option(help="dataset.id", rich_help_panel=_RUN, show_default=False)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field of the spec: training.learning_rate=1e-4", rich_help_panel=_RUN),
]
Sweeps = Annotated[
    list[str] | None,
    typer.Option("--sweep", help="Values to try, one run for each: lora.r=8,16", rich_help_panel=_RUN),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help='t4, l4, a100, …; several: t4,l4; any other: "NVIDIA RTX A6000", or 40gb: at least so much; auto: the '
        "smallest that fits (the default); none: the CPU",
    ),
]
Platform = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(PLATFORMS)}; default: detected.", rich_help_panel=_GPU, show_default=False),
]  # fmt: skip
Label = Annotated[
    str | None,
    typer.Option(
        "--gpu-label", help="key=value: the label that identifies the GPU in this cluster.", rich_help_panel=_GPU
    ),
]
Spot = Annotated[
    bool | None, typer.Option("--spot/--no-spot", help="Use spot nodes.", rich_help_panel=_GPU, show_default=False)
]
Price = Annotated[
    float | None,
    typer.Option(help="Price of the GPU per hour, in any currency.", rich_help_panel=COST, show_default=False),
]
PriceFile = Annotated[
    Path | None,
    typer.Option(
        help="A YAML file of prices by card: t4: 0.35, l4: {on_demand: 0.71, spot: 0.22}.",
        rich_help_panel=COST,
        show_default=False,
    ),
]
Shared = Annotated[bool, typer.Option("--shared", help="Use a time-sliced share of a card.", rich_help_panel=_GPU)]
Mig = Annotated[str, typer.Option(help="Use a MIG slice, e.g. 1g.5gb.", rich_help_panel=_GPU)]
Force = Annotated[
    bool, typer.Option("--force", help="Send it even if no node can run it now; a note says why.", rich_help_panel=_GPU)
]
Tolerations = Annotated[
    list[str] | None,
    typer.Option("--toleration", help="key[=value][:effect] of a taint to tolerate.", rich_help_panel=_GPU),
]
