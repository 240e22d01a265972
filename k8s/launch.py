"""The launcher's command line, and the only place that catches everything and maps it to an exit code.

`python k8s/launch.py --gpu t4 --model M --dataset D`, installed as `finetune-run`. Without a command it launches. Exit
codes: the run's own (job/errors.py) where it was waited for, 10 to 20 (k8s/errors.py) for the launcher's own faults.
"""

import gc
import sys
from pathlib import Path

if not __package__:  # run as a script: this folder's modules are not top-level modules
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import typer

from job.command_line import App, show_version
from k8s.cli import compare, config, init, launch, look, manage, plan, results
from k8s.output import say

app = App(
    elsewhere=dict.fromkeys(("run", "train"), "finetune-run launch")
    | {name: f"python -m job {name}" for name in ("check", "schema", "chat")}
    | {name: f"python -m push {name}" for name in ("changed", "report")},
    name="finetune-run",
    rich_markup_mode="markdown",
    help="Launches fine-tuning runs on Kubernetes, follows and manages them.\n\n"
    "`finetune-run --gpu t4 --model NousResearch/Llama-2-7b-hf --dataset Abirate/english_quotes` is `launch`.",
    epilog="Exit codes: the run's own if its end was waited for (docs/exit-codes.md); 10 to 20: the launcher's errors.",
)
launch.register(app)
plan.register(app)
init.register(app)
config.register(app)
look.register(app)
manage.register(app)
results.register(app)
compare.register(app)

_OWN = {"--help", "--version", "--install-completion", "--show-completion"}


def _version() -> str:
    from job import __version__

    return f"finetune-run {__version__}"


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=show_version(_version), is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def main() -> None:
    """Runs a command, and turns an error into one message and an exit code."""
    from job.errors import JobError
    from job.redaction import redact
    from k8s.errors import LauncherBug, LauncherError

    gc.set_threshold(100_000, 20, 20)  # with the defaults, a tenth of a short command's time goes into garbage
    given = sys.argv[1:]
    if given and given[0].startswith("-") and given[0] not in _OWN:
        given = ["launch", *given]
    try:
        app(given, prog_name="finetune-run")
    except (LauncherError, JobError) as error:
        say(f"error: {redact(str(error))}", style="bad")
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001
        say(f"error: {redact(f'{type(error).__name__}: {error}')}\nThis is a bug in the launcher.", style="bad")
        sys.exit(LauncherBug.code)


if __name__ == "__main__":
    main()
