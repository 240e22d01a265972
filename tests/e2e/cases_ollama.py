"""What is published answers in Ollama, and its answers end: Modelfile, template and stops as a user takes them."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.job_process import run_job
from tests.tiny_families import make_family

FAMILIES = {"Llama 3": "llama3", "Mistral": None, "Qwen 2.5": "chatml", "Gemma": None}
"""With the ready template that the tiny model of the family gets; the others bring one."""
ANSWER = "The answer is yes."


@pytest.fixture(scope="session")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Ollama"]:
    """A server on loopback, with a home of its own."""
    program = subprocess.run(
        [ROOT / "scripts" / "build-ollama.sh"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    home = tmp_path_factory.mktemp("ollama")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {"HOME": str(home), "OLLAMA_HOST": address, "OLLAMA_MODELS": str(home / "models")}
    server = Ollama(program, address, os.environ | environment)
    with (
        (home / "log.txt").open("wb") as log,
        subprocess.Popen([program, "serve"], stdout=log, stderr=log, env=server.environment) as process,
    ):
        try:
            server.wait()
            yield server
        finally:
            process.terminate()


class Ollama:
    def __init__(self, program: str, address: str, environment: dict[str, str]) -> None:
        self.program, self.url, self.environment = program, f"http://{address}", environment

    def wait(self) -> None:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.url}/api/version").close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("Ollama does not start")

    def create(self, name: str, modelfile: Path) -> None:
        """As the card says."""
        command = [self.program, "create", name, "-f", modelfile]
        done = subprocess.run(command, env=self.environment, cwd=modelfile.parent, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    def chat(self, name: str, question: str) -> dict[str, Any]:
        """One greedy answer of at most 64 tokens, with why it ended."""
        body = {
            "model": name, "messages": [{"role": "user", "content": question}], "stream": False,
            "options": {"temperature": 0, "seed": 1, "num_predict": 64},
        }  # fmt: skip
        request = urllib.request.Request(f"{self.url}/api/chat", json.dumps(body).encode())
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_published_file_answers_in_ollama_and_its_answers_end(family: str, ollama: Ollama, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Is it so?"}, {"role": "assistant", "content": ANSWER}]
    (tmp_path / "rows.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 64)
    template = FAMILIES[family]
    whole = [] if family == "Gemma" else ["lm_head"]  # llama.cpp knows no output layer of its own there
    ended = run_job(
        {
            "model": {"id": str(make_family(tmp_path / "model", family))},
            "dataset": {"id": str(tmp_path / "rows.jsonl"), "duplicates": "keep", "eval_fraction": 0},
            **({"chat": {"template": template}} if template else {}),
            "load": {"bits": 32},
            "lora": {"target_modules": "all-linear", "r": 16, "dropout": 0, "modules_to_save": whole},
            "training": {
                "max_steps": 40, "max_length": 64, "learning_rate": 0.01, "per_device_train_batch_size": 8,
                "report_to": [],
            },
            "export": {"types": ["q8_0"], "imatrix": "none"},
            "publish": {"name": "tiny", "folder": str(tmp_path / "published")},
            "run": {"store": str(tmp_path / "store")},
        },
        tmp_path / "work",
    )  # fmt: skip
    assert ended.code == 0, ended.output[-3000:]
    name = family.lower().replace(" ", "-")
    ollama.create(name, tmp_path / "published" / "Modelfile")
    said = ollama.chat(name, "Is it so?")
    assert said["message"]["content"].strip() == ANSWER and said["done_reason"] == "stop"
