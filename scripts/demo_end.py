"""How `make demo` ends: with the samples and where the local S3 server keeps the files, or with what to do next."""

import signal
from pathlib import Path

from rich.console import Console
from rich.markup import escape as literal
from rich.panel import Panel

from job.errors import JobError
from job.escape import harmless
from job.report import ending
from job.run.records import Manifest

NEXT = {
    2: "Correct the command line; `.venv/bin/python -m job run --help` shows what it takes.",
    64: "Correct the spec; `.venv/bin/python -m job check SPEC` lists every fault in it.",
    65: "Fix the rows in the message, or change how they are read (`dataset.format`, `dataset.columns`).",
    66: "Correct the name. If it is a private model or data set, set HF_TOKEN.",
    69: "Check the network and the proxy.",
    70: "This is a bug: please report it, with the log.",
    74: "Check the disk: the demo needs about 5 GB free (`df -h .`).",
    75: "",
    76: "",
    77: "Set or correct the token or key in the message, accept the licence, or make the file readable.",
    78: "This machine lacks what the message names. The demo needs 8 GB of RAM and 15 GB of disk.",
    79: "It was probably killed for memory: close other programs (the demo needs 8 GB of RAM).",
    80: "Make it smaller: `training.max_length`, the batch size, `load.bits: 4`.",
    81: "Check the file and the value in the message; `evaluation.gate` in the spec sets the limits.",
    82: "Delete the file in the message; the next run makes or downloads it again.",
    83: "Another job is working on the same run. Wait for it, or stop it.",
    84: "Another job is working on the same run. Wait for it, or stop it.",
    85: "Set FINETUNE_MAX_COST higher, or unset it.",
}
EMBEDDED = (64, 65, 66, 80, 81)
"""Exit codes that a user of the embedded default cannot have caused."""
screen = Console(highlight=False)


def words(text: str) -> str:
    """Text by anybody, for rich's markup."""
    return literal(harmless(text))


def say_error(error: JobError) -> None:
    """As the job says it."""
    Console(stderr=True, highlight=False).print(f"[red]error:[/] {words(str(error))}", soft_wrap=True)


def say_next(code: int, events: str | None, again: str) -> None:
    """After the error and its hint, which the job has written to stderr.

    `code`: the job's exit code, or 128 and a signal. `events`: where its log is, if there is one. `again`: the command.
    """
    advice = NEXT.get(code, f"It ended without a message (exit code {code}).")
    if code in EMBEDDED and again == "make demo":
        advice = "The demo's own model and data should pass: please report this, with the log and your CPU (`lscpu`)."
    if code > 128:
        advice = f"It was killed by {signal.Signals(code - 128).name}."
        if code == 128 + signal.SIGKILL:
            advice += f" {NEXT[79]}"
    run = f"run `{words(again)}` again: finished work is kept, and it continues from there."
    lines = [f"[red]the run ended with exit code {code}[/]"]
    lines.append(f"next: {words(advice)}\n      Then {run}" if advice else f"next: {run}")
    if events:
        lines.append(f"log: {words(events)}/ (one JSON object a line)")
    lines.append("what each exit code means: docs/exit-codes.md")
    Console(stderr=True, highlight=False).print("\n".join(lines), soft_wrap=True)


def show(manifest: Manifest, buckets: Path) -> None:
    """After the job's own end: what the model answered before and after, where the local S3 server keeps the files, and
    the command that talks to one. `buckets`: the server's folder."""
    train = manifest.stages["train"].metrics if "train" in manifest.stages else {}
    for sample in train.get("samples", []):
        text = f"[bold]{words(sample['prompt'].strip())}[/]\n"
        text += f"[dim]before[/]  {words(sample['before'].strip())}\n[green]after[/]   {words(sample['after'].strip())}"
        screen.print(Panel(text, title="a held-out row", title_align="left", border_style="dim"))
    for place in manifest.places:
        local = buckets / place.removeprefix("s3://")
        if local.is_dir():
            screen.print(words(f"{place} on this disk: {local}"), soft_wrap=True)
    if manifest.files and (
        command := ending.result(manifest, manifest.spec["run"]["store"] or "")["try"].get("try it")
    ):
        screen.print(f"talk to it: [bold]{words(command)}[/]", soft_wrap=True)
