"""The command line, and the only place that catches everything and maps it to an exit code."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from job import logs, strict_json
from job.command_line import App, show_version
from job.errors import Bug, JobError, named
from job.escape import harmless
from job.redaction import redact

if TYPE_CHECKING:
    from job.spec import JobSpec

TERMINATION_LIMIT = 3000  # bytes; Kubernetes keeps 4096 and cuts at the front
SpecPath = Annotated[
    Path | None, typer.Argument(envvar="FINETUNE_SPEC", help="The spec: a YAML or JSON file.", show_default=False)
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field of the spec: training.learning_rate=1e-4", show_default=False),
]

LAUNCHER = (
    "init",
    "launch",
    "list",
    "status",
    "logs",
    "wait",
    "cancel",
    "resume",
    "results",
    "compare",
    "config",
    "gpus",
)
app = App(
    elsewhere={name: f"finetune-run {name}" for name in LAUNCHER}
    | {name: f"python -m push {name}" for name in ("changed", "report")}
    | {"train": "python -m job run"},
    add_completion=False,
    rich_markup_mode="markdown",
    help="Turns a spec into fine-tuned GGUF files.\n\n"
    "Every field of the spec can also be set in the environment: `FINETUNE__TRAINING__LEARNING_RATE=1e-4`.",
)


def _version() -> str:
    import platform

    from job.llama_cpp import bundle
    from job.versions import versions

    parts = versions() | {"python": platform.python_version()}
    built = bundle.version() if bundle.is_built() else "llama.cpp is not built"
    return "\n".join([*(f"{name} {number}" for name, number in parts.items()), built])


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version(_version), is_eager=True, help="Show the versions of all parts."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def run(spec: SpecPath = None, sets: Sets = None) -> None:
    """Run the whole job: fetch, train, export, quantize, publish.

    On a terminal it shows bars and sentences, else (in a pipe, a file, a pod) one JSON object a line on stdout. It ends
    with the table, the files and how to try them; a log has that as the event `run.result` and as text on stderr.

    Example: `python -m job run examples/recipe.yaml`
    """
    from job.pipeline import run as pipeline

    pipeline.run(_loaded(spec, sets))


@app.command()
def check(
    spec: SpecPath = None,
    sets: Sets = None,
    access: Annotated[
        bool,
        typer.Option(
            "--access",
            help="Also test the credentials (read the model and the data, write to each place), and take the model's "
            "way through a run without its weights.",
        ),
    ] = False,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            min=1,
            max=1000,
            show_default=False,
            help="Also make every row into tokens, show this many as the model will see them, and sum up all. Fetches "
            "the rows and the tokenizer.",
        ),
    ] = None,
) -> None:
    """Read the spec and list every fault at once, without downloading anything; say what files here hold.

    Example: `python -m job check my.yaml --rows 3`
    """
    read = _loaded(spec, sets)
    if access:
        from job.pipeline.preflight import try_access as look
    else:
        from job.check import seen_here as look
    logs.configure(to_stdout=access)  # without a network there is nothing to follow
    for line in look(read):
        typer.echo(harmless(line))
    if rows:
        from job.check_rows import show_rows

        show_rows(read, rows, lambda text: typer.echo(harmless(text)))
    typer.echo("the spec is valid")


@app.command()
def plan(
    spec: SpecPath = None,
    sets: Sets = None,
    gpu: Annotated[str | None, typer.Option(help="Show whether the run fits into this GPU: t4, l4, a100-40, …")] = None,
    price: Annotated[float | None, typer.Option(help="Price of the GPU per hour, to estimate the cost.")] = None,
) -> None:
    """Show the resolved spec, what a run would do, and what it would need.

    Example: `python -m job plan examples/recipe.yaml --gpu t4 --price 0.35`
    """
    from job.plan import describe

    typer.echo(describe(_loaded(spec, sets), gpu, price))


def _loaded(path: Path | None, sets: list[str] | None) -> "JobSpec":
    """The spec, from everywhere, once what came along with it is unpacked. Raises SpecInvalid, UsageInvalid,
    IntegrityViolated."""
    from job.spec.load import load
    from job.spec.overlay import assignments

    if os.environ.get("FINETUNE_INPUTS"):
        from job.fetch.inputs import unpack

        unpack()
    return load(path, os.environ, assignments(sets or []))


@app.command()
def schema() -> None:
    """Print the spec's JSON Schema."""

    from job.spec.schema import schema as schema_of_spec

    typer.echo(strict_json.dumps(schema_of_spec(), indent=2))


@app.command()
def chat(
    place: Annotated[Path, typer.Argument(help="A GGUF file, or a folder that holds some.", show_default=False)],
    against: Annotated[
        Path | None, typer.Option(help="Another file or folder, whose model answers beside it.", show_default=False)
    ] = None,
    context: Annotated[int, typer.Option(min=64, help="Tokens of a conversation; they need memory.")] = 4096,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 512,
    temperature: Annotated[
        float, typer.Option(min=0, max=5, help="0: the likeliest token each time; 0.7: other answers each time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 2, help="Of the answers, with a temperature.")] = 0,
    plain: Annotated[
        bool, typer.Option("--plain", help="Continue each text, without the template: for models of plain text.")
    ] = False,
) -> None:
    """Talk to a GGUF file in the bundled llama.cpp, in the model's own template.

    On a terminal a prompt is asked for; in a pipe each line is one. Ctrl-C or Ctrl-D ends.

    Example: `python -m job chat models --against base.gguf`
    """
    from job.talk.speaker import Settings
    from job.talk.terminal import talk

    try:
        talk(place, against, Settings(context, tokens, temperature, seed, plain))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command(hidden=True)
def stage(name: str, folder: Path, events: int) -> None:
    """Run one stage in this process (called by the pipeline). `events`: the number of the pipe for its events."""
    from job.run.child import run_stage

    sys.exit(run_stage(name, folder, events))


def _say_last_words(error: JobError) -> None:
    """Writes the error to stderr, and to the termination message that `kubectl describe` and the launcher show."""
    text = harmless(redact(str(error)))
    lines = text.replace("\n", "\n  ")  # indented: no line of a message that quotes foreign text looks like an event
    sys.stderr.write(f"error: {lines}\n")
    path = Path(os.environ.get("FINETUNE_TERMINATION_LOG") or "/dev/termination-log")
    if path.is_file():
        try:
            path.write_bytes(f"exit code {error.code}: {text}".encode()[:TERMINATION_LIMIT])
        except OSError as problem:
            sys.stderr.write(f"cannot write {path}: {problem}\n")


def main() -> NoReturn:
    """Runs the command line and exits with the code of what went wrong, or 0."""
    code = 0
    logs.configure()
    try:
        app(prog_name="python -m job")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except Exception as error:  # noqa: BLE001 - the one place that catches everything
        fault = named(error)
        if isinstance(fault, Bug) and fault is not error:
            logs.log.exception("run.bug")
        code = fault.code
        _say_last_words(fault)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still upload must not hold up the end: what they do not finish does not count.
    os._exit(code)


if __name__ == "__main__":
    main()
