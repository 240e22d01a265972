"""What a command does not need, it does not import: most of a short command's time goes into imports."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

NEVER = {
    "torch", "transformers", "datasets", "huggingface_hub", "numpy", "pyarrow", "jinja2", "structlog", "boto3",
    "botocore", "kubernetes_validate", "tenacity", "matplotlib", "job.hub", "k8s.chart", "k8s.registry", "k8s.results",
}  # fmt: skip
"""By no command of this page. A name stands for what is below it, too."""
CLUSTER = {"kubernetes", "urllib3", "requests"}
PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*(name for name, module in sys.modules.items() if module), sep="\\n", file=sys.stderr))
from k8s.launch import main
main()
"""
PREDICTION = {
    "job.spec.spec",
    "job.predict.prediction",
    "job.dataset",
    "k8s.ask",
    "k8s.prepare",
    "k8s.manifest.settings",
}


def imported(*arguments: str, kubeconfig: Path) -> set[str]:
    """What one command imports. It succeeds."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True, text=True, check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "FINETUNE_IMAGE": "registry.example/finetune-run:1",
             "XDG_CONFIG_HOME": "/nowhere"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stderr.splitlines())


def those(names: set[str], modules: set[str]) -> set[str]:
    return {one for one in modules for name in names if one == name or one.startswith(f"{name}.")}


@pytest.fixture
def empty_cluster(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of a server that has nothing of anything."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_one = "/configmaps/" in self.path
            body = json.dumps({"message": "not found"} if is_one else {"items": [], "metadata": {}}).encode()
            self.send_response(404 if is_one else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "here", "user": {"token": "abc"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
    }  # fmt: skip
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_help_asks_for_nothing_that_a_run_needs(tmp_path: Path) -> None:
    there = imported("--help", kubeconfig=tmp_path / "none")
    assert those(NEVER | CLUSTER | PREDICTION, there) == set()


def test_list_reads_no_spec_and_predicts_nothing(empty_cluster: Path) -> None:
    there = imported("list", kubeconfig=empty_cluster)
    assert "kubernetes.client.api_client" in there
    assert those(NEVER | PREDICTION | {"rich.console", "rich.table"}, there) == set()


def test_a_run_of_which_nothing_lies_here_is_printed_without_what_checks_rows_and_models(empty_cluster: Path) -> None:
    run = ["--model", "/models/here", "--dataset", "/rows.jsonl", "--gpu", "none", "--dry-run"]
    there = imported("launch", *run, kubeconfig=empty_cluster)
    assert "job.predict.prediction" in there
    assert those(NEVER | {"job.check", "job.dataset", "rich.progress"}, there) == set()


def test_what_a_rehearsal_needs_is_not_imported_where_none_can_be() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from k8s.model import rehearse; rehearse([None]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    there = set(done.stdout.split())
    assert "job.rehearsal.needs" in there
    assert (
        those(
            (NEVER - {"torch"})
            | {"job.rehearsal.here", "job.rehearsal.stage", "job.fetch.sources", "job.run.supervise"},
            there,
        )
        == set()
    )


def test_a_spec_is_read_without_the_sources_of_its_docstrings() -> None:
    program = "import inspect; inspect.findsource = None; from job.spec import JobSpec; print(JobSpec.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "JobSpec\n", done.stderr[-2000:]


def test_the_models_of_kubernetes_are_not_imported(empty_cluster: Path) -> None:
    models = those({"kubernetes.client.models", "kubernetes.client.api"}, imported("list", kubeconfig=empty_cluster))
    assert models <= {"kubernetes.client.models"}
