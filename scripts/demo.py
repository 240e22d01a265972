#!/usr/bin/env python3
"""`make demo`: the whole job on an embedded default, or on the spec that is named.

A real S3 server (versitygw) on loopback takes the published files; everything lies below build/demo/:
`store/` (the run store), `s3/` (the server's buckets), `work/` (what the job needs while it runs).
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from job import active_run, console
from job.errors import JobError
from job.manifest import Manifest, read_manifest
from job.report import documents, table
from job.spec_file import load
from job.store import open_store

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "build" / "demo"
BUCKET = "models"
screen = Console(highlight=False)


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "demo.yaml"
    os.environ.setdefault("FINETUNE_WORK", str(DEMO / "work"))
    DEMO.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) == 1:
        os.environ |= embedded_default()
    with s3_server() as server:
        spec = load(path, os.environ)
        if spec.run.store is None:
            os.environ["FINETUNE__RUN__STORE"] = str(DEMO / "store")
        publish = spec.publish
        if not (publish.folder or publish.s3 or publish.hub):
            os.environ |= server | {"FINETUNE__PUBLISH__S3": f"s3://{BUCKET}/{path.stem}"}
        started = time.monotonic()
        status = subprocess.run([sys.executable, "-m", "job", "run", str(path)], check=False).returncode
        if status:
            screen.print(f"[red]the run ended with exit code {status}[/]; what was done is kept: `make demo` goes on")
            return status
        spec = load(path, os.environ)
        store = open_store(active_run.store_url(spec, active_run.work_folder()))
        manifest = read_manifest(store, active_run.run_id(spec))
        assert manifest
        show(manifest, store.url, time.monotonic() - started)
    return 0


def embedded_default() -> dict[str, str]:
    """The base model from the cache, and the data set made from Python's own documentation."""
    model = subprocess.run(
        [sys.executable, ROOT / "scripts" / "smollm2.py"], check=True, capture_output=True, text=True
    )
    rows = DEMO / "rows.jsonl"
    if not rows.is_file():
        subprocess.run([sys.executable, ROOT / "scripts" / "demo_data.py", rows], check=True)
    return {"FINETUNE__MODEL__ID": model.stdout.strip().splitlines()[-1], "FINETUNE__DATASET__ID": str(rows)}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A versitygw on a free port of loopback; gives the environment that reaches it."""
    keys = DEMO / "s3-keys.json"
    if not keys.is_file():
        keys.write_text(json.dumps({"access": "demo" + secrets.token_hex(4), "secret": secrets.token_hex(20)}))
        keys.chmod(0o600)
    found = json.loads(keys.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (DEMO / "s3" / BUCKET).mkdir(parents=True, exist_ok=True)
    environ = os.environ | {"ROOT_ACCESS_KEY": found["access"], "ROOT_SECRET_KEY": found["secret"]}
    server = subprocess.Popen(
        [ROOT / ".venv/bin/versitygw", "--quiet", "--port", f"127.0.0.1:{port}", "posix", DEMO / "s3"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": found["access"],
            "AWS_SECRET_ACCESS_KEY": found["secret"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.terminate()
        server.wait()


def show(manifest: Manifest, store: str, seconds: float) -> None:
    """The table, the samples before and after, and where the files are."""
    train = manifest.stages["train"].metrics if "train" in manifest.stages else {}
    for sample in train.get("samples", []):
        text = f"[bold]{escape(sample['prompt'].strip())}[/]\n"
        text += (
            f"[dim]before[/]  {escape(sample['before'].strip())}\n[green]after[/]   {escape(sample['after'].strip())}"
        )
        screen.print(Panel(text, title="a held-out row", title_align="left", border_style="dim"))
    files = {one.type: one.name for one in manifest.files if f"quantize/{one.type}" in manifest.stages}
    lines = table.lines([(name, kind) for kind, name in files.items()], manifest.stages)
    columns = table.columns(lines)[1:]
    cells = [tuple(column.shown(line) for column in columns) for line in lines]
    headings = tuple(column.heading for column in columns)
    screen.print(console.result_table(cells, headings, f"{manifest.name}-<type>.gguf"))
    if train.get("loss_before") is not None and train.get("loss_after") is not None:
        screen.print(
            f"held-out loss [bold]{train['loss_before']:.3f}[/] before, [bold]{train['loss_after']:.3f}[/] after "
            f"{train['steps']} steps"
        )
    screen.print(
        f"run {manifest.run} in {seconds:.0f} s; manifest: {store}/runs/{manifest.run}/manifest.json", soft_wrap=True
    )
    for place in manifest.places:
        local = DEMO / "s3" / place.removeprefix("s3://")
        screen.print(f"files: {place}" + (f"  (on this disk: {local})" if local.is_dir() else ""), soft_wrap=True)
    screen.print(f"report: {store}/runs/{manifest.run}/{documents.PAGE}", soft_wrap=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except JobError as error:
        Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.code)
