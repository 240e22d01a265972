"""`init`: a commented spec for these rows and this model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from k8s.cli.options import Dataset, Model
from k8s.output import say

FILE = Path("my.yaml")
Card = Annotated[str | None, typer.Option("--gpu", help="The card to train on, e.g. t4.", show_default=False)]


def init(
    file: Annotated[Path, typer.Argument(help="The spec to write.")] = FILE,
    dataset: Dataset = None,
    model: Model = None,
    gpu: Card = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Look at your rows, and write a commented spec for them. What is not given is asked for on a terminal.

    Example: `finetune-run init my.yaml --dataset ./rows.jsonl --model Qwen/Qwen3-8B --gpu t4`
    """
    from k8s.errors import SettingsInvalid
    from k8s.first_spec import first_spec, schema_beside, seen
    from k8s.placement.wish import Wish

    if file.exists() and not force:
        raise SettingsInvalid(f"{file} exists already", hint="Name another file, or replace it with --force.")
    dataset = dataset or _asked("--dataset", "Your rows (a file, a folder, or a name on the Hub)")
    told = seen(dataset)
    for line in told:
        say(line)
    model = model or _asked("--model", "The model (a name on the Hub, or a folder)")
    gpu = gpu or _asked("--gpu", "The card to train on", default="t4")
    Wish.of(gpu)
    text = first_spec(model, dataset, told, file)
    file.write_text(text, encoding="utf-8")
    schema_beside(file)
    say(f"{file} is written; its schema, for editors, lies beside it", style="good")
    say(f"next: finetune-run plan --spec {file} --gpu {gpu}, then the same without `plan`", style="dim")


def _asked(option: str, question: str, default: str | None = None) -> str:
    """The answer on a terminal. Raises SettingsInvalid elsewhere, if there is no default."""
    from k8s.errors import SettingsInvalid

    if sys.stdin.isatty():
        return str(typer.prompt(question, default=default, err=True)).strip()
    if default is None:
        raise SettingsInvalid(f"{option} is not given, and nobody can be asked here", hint=f"Add {option}.")
    return default


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(init)
