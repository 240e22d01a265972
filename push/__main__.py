"""The command line for workflows: `python -P -m push changed|plan|train|report`. The only place that catches
everything.

Call it with `-P`: the current folder contains pushed files, which must not be imported.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from job import strict_json
from job.command_line import App
from k8s.output import say
from push.escape import block, harmless_output

app = App(
    elsewhere={name: f"python -m job {name}" for name in ("run", "check", "schema", "chat")}
    | {name: f"finetune-run {name}" for name in ("launch", "list", "status", "logs", "wait", "cancel", "resume")}
    | {name: f"finetune-run {name}" for name in ("init", "results", "compare", "config", "gpus")},
    add_completion=False,
    help="Training on push: commands for a repository's workflows.",
)
Repo = Annotated[Path, typer.Option(help="The repository, with its whole history.")]
Before = Annotated[str, typer.Option(help="The branch's commit before the push; zeros if there was none.")]
After = Annotated[str, typer.Option(help="The branch's commit after the push.")]


@app.command()
def changed(before: Before, after: After, repo: Repo = Path()) -> None:
    """Print the specs that a push has changed, as JSON."""
    from push.changes import of_push

    found = of_push(repo, before, after).model_dump(mode="json", exclude={"specs": {"__all__": {"path"}}})
    typer.echo(strict_json.dumps(found, indent=2).replace("##[", "#\\u0023["))


@app.command()
def plan(
    base: Annotated[str, typer.Option(help="The commit that the pull request would be merged into.")],
    head: Annotated[str, typer.Option(help="The pull request's newest commit.")],
    repo: Repo = Path(),
    out: Annotated[Path | None, typer.Option(help="The file to write the comment to; default: print it.")] = None,
) -> None:
    """Check the specs that a pull request changes, and write their plan and price as Markdown, without a cluster."""
    from job.errors import SpecInvalid
    from push import config
    from push.changes import of_request
    from push.plan import comment

    text, wrong = comment(repo, of_request(repo, base, head), config.read(os.environ, repo))
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        typer.echo(text)
    _page(text)
    if wrong:
        say(f"error: {wrong}", style="bad")
        raise typer.Exit(SpecInvalid.code)


@app.command()
def train(
    after: After,
    before: Before = "",
    files: Annotated[list[str] | None, typer.Argument(help="runs/NAME.yaml: files to send, changed or not.")] = None,
    repo: Repo = Path(),
    context: Annotated[str | None, typer.Option(help="A context of the kubeconfig.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of every run; fail if one fails.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; the runs go on afterwards.")] = None,
) -> None:
    """Send a run for each spec that a push has changed."""
    from k8s.cluster.client import Cluster
    from k8s.errors import SettingsInvalid
    from push import config, waiting
    from push.annotations import origin_of
    from push.changes import of_names, of_push
    from push.data import brought
    from push.report import forge_of, report
    from push.specs import specs_of
    from push.summary import summary
    from push.train import send

    if bool(files) == bool(before):
        both = "both --before and files are given" if files else "neither --before nor files are given"
        raise SettingsInvalid(both, hint="`python -m push train --help` describes both: one is needed.")
    if timeout is not None and not wait:
        raise SettingsInvalid("--timeout is for waiting", hint="Add --wait (the action's `wait: true`).")
    settings = config.needed(config.read(os.environ, repo))
    change = of_names(repo, after, files) if files else of_push(repo, before, after)
    origin = origin_of(os.environ, change.after)
    if not change.specs:
        _page(text := summary(change, [], origin, {}))
        typer.echo(text)
        return
    with brought(repo, change.after, specs_of(repo, change, settings), settings) as (specs, folder):
        cluster = Cluster(context, settings.namespace)
        sent = send(cluster, specs, settings, origin, folder)
    names = [one.submitted.run.name for one in sent]
    for one in sent:
        say(f"{one.submitted.how}: {one.submitted.run.name} ({one.spec.name})", style="good")
    ends = waiting.ends(cluster, names, timeout) if wait else {}
    _page(text := summary(change, sent, origin, ends))
    typer.echo(text)
    if forge := forge_of(os.environ):
        report(cluster, origin.repository, forge)
    if wait:
        waiting.check(names, ends)


@app.command("report")
def report_runs(
    repo: Repo = Path(), context: Annotated[str | None, typer.Option(help="A context of the kubeconfig.")] = None
) -> None:
    """Set the commits' statuses to the state of their runs (with GITHUB_TOKEN), and list the runs."""
    from k8s.cluster.client import Cluster
    from k8s.output import run_headings, run_row, table
    from push import config
    from push.annotations import origin_of
    from push.escape import shown
    from push.report import forge_of, report

    settings = config.needed(config.read(os.environ, repo))
    repository = origin_of(os.environ, "").repository
    found = report(Cluster(context, settings.namespace), repository, forge_of(os.environ))
    table((*run_headings(), "FILE"), [[*run_row(run), shown(file)] for file, run in found])


def _page(text: str) -> None:
    """Writes to the page of the workflow's run, if there is one."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def main() -> None:
    """Runs a command, and turns an error into one message and an exit code."""
    with harmless_output():
        code = _run()
    sys.exit(code)


def _run() -> int:
    from job.errors import JobError
    from job.redaction import redact
    from k8s.errors import LauncherBug, LauncherError

    try:
        app(prog_name="python -m push")
    except (LauncherError, JobError) as error:
        text = redact(str(error))
        say(f"error: {text}", style="bad")
        _page(f"### finetune-run\n\n{block(text)}")
        return error.code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001
        say(f"error: {redact(f'{type(error).__name__}: {error}')}\nThis is a bug.", style="bad")
        return LauncherBug.code
    return 0


if __name__ == "__main__":
    main()
