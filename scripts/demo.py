#!/usr/bin/env python3
"""`make demo`: the whole job on an embedded default, or on the spec that is named.

    scripts/demo.py [SPEC]      runs it
    scripts/demo.py --there     runs nothing: prints which stages of the embedded default are done (train, publish)

A real S3 server (versitygw) on loopback takes the published files; everything lies below build/demo/, or FINETUNE_DEMO:
`store/` (the run store), `s3/` (the server's buckets), `work/` (what the job needs while it runs).
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import demo_end

from job.errors import JobError
from job.fetch import identity
from job.run import folders
from job.run.events import read_events
from job.run.records import read_manifest, read_stage
from job.spec import JobSpec
from job.spec.load import load
from job.store import Store, open_store

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(os.environ.get("FINETUNE_DEMO") or ROOT / "build" / "demo").absolute()
EMBEDDED = ROOT / "examples" / "demo.yaml"
ROWS = DEMO / "rows.jsonl"
BUCKET = "models"


def main() -> int:
    if sys.argv[1:] == ["--there"]:
        print(*stages_done())
        return 0
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else EMBEDDED
    store = None
    try:
        if path == EMBEDDED and not ROWS.is_file():
            subprocess.run([sys.executable, ROOT / "scripts" / "demo_data.py", ROWS], check=True)
        spec = prepare(path)
        store, run = run_of(spec)
        with s3_server() as server:
            os.environ |= server if spec.publish.s3 == bucket(path) else {}
            status = run_job(path)
        if not status:
            manifest = read_manifest(store, run)
            assert manifest
            demo_end.show(manifest, DEMO / "s3")
            return 0
        events = f"{store.url}/runs/{run}/events"
    except JobError as error:
        demo_end.say_error(error)
        status, events = error.code, None
    demo_end.say_next(status, events, "make demo" if path == EMBEDDED else f"SPEC={path} make demo")
    return status


def prepare(path: Path, *options: str) -> JobSpec:
    """The spec as it runs here: in the demo's store, and published to its S3 server if it names no place of its own.
    `options` are those of smollm2.py."""
    os.environ.setdefault("FINETUNE_WORK", str(DEMO / "work"))
    if path == EMBEDDED:
        model = made(sys.executable, ROOT / "scripts" / "smollm2.py", *options)
        os.environ |= {"FINETUNE__MODEL__ID": model, "FINETUNE__DATASET__ID": str(ROWS)}
    spec = load(path, os.environ)
    if spec.run.store is None:
        os.environ["FINETUNE__RUN__STORE"] = str(DEMO / "store")
    if not (spec.publish.folder or spec.publish.s3 or spec.publish.hub):
        os.environ["FINETUNE__PUBLISH__S3"] = bucket(path)
    return load(path, os.environ)


def made(*command: str | Path) -> str:
    """What a script has made, if need be: the path that it prints. It has said itself why, if it fails."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.strip()


def bucket(path: Path) -> str:
    return f"s3://{BUCKET}/{path.stem}"


def run_of(spec: JobSpec) -> tuple[Store, str]:
    """The run's store and id."""
    return open_store(folders.store_url(spec, folders.work_folder())), identity.run_id(spec)


def stages_done() -> Iterator[str]:
    """Of the embedded default: `train` if it is trained, `publish` if the run is finished."""
    if not ROWS.is_file():
        return
    store, run = run_of(prepare(EMBEDDED, "--there"))
    keys = {event["stage"]: event["key"] for event in read_events(store, run) if event.keys() >= {"stage", "key"}}
    if "train" in keys and read_stage(store, "train", keys["train"]):
        yield "train"
    if read_manifest(store, run):
        yield "publish"


def run_job(path: Path) -> int:
    """The job's exit code, or 128 and the signal that killed it. A signal to this process ends the job in order."""
    job = subprocess.Popen([sys.executable, "-m", "job", "run", str(path)])
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the job by itself
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: job.send_signal(signal.SIGTERM))
    status = job.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A versitygw on a free port of loopback; gives the environment that reaches it."""
    (DEMO / "s3" / BUCKET).mkdir(parents=True, exist_ok=True)
    keys = DEMO / "s3-keys.json"
    if not keys.is_file():
        keys.write_text(json.dumps({"access": "demo" + secrets.token_hex(4), "secret": secrets.token_hex(20)}))
        keys.chmod(0o600)
    found = json.loads(keys.read_text())
    program = made(ROOT / "scripts" / "build-go.sh", "versitygw")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = os.environ | {"ROOT_ACCESS_KEY": found["access"], "ROOT_SECRET_KEY": found["secret"]}
    server = subprocess.Popen(
        [program, "--quiet", "--port", f"127.0.0.1:{port}", "posix", DEMO / "s3"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is not for it: the job may still have to publish or clean up
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


if __name__ == "__main__":
    sys.exit(main())
