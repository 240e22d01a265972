"""Answers of a GGUF to many prompts at once: llama-server, in parallel slots.

It listens on a socket in a folder that only this user can open, so that no port is used; it still asks for a key.
The prompts are token ids, which the server takes as they are.
"""

import http.client
import json
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from job.errors import Bug, EnvironmentUnfit, IntegrityViolated
from job.llama_cpp import offload
from job.logs import Progress
from job.node import threads as cpus

TIMEOUT_S = 24 * 3600.0
"""An answer takes as long as it takes; this ends a server that hangs."""
_SOCKET_LIMIT = 107  # bytes of a path, sockaddr_un
_POLL_S = 0.1


def answers(
    gguf: Path, prompts: Sequence[Sequence[int]], *, most: int, parallel: int, seed: int, what: str
) -> list[str]:
    """The likeliest continuation of each prompt, of at most `most` tokens, without the tokens that end it.

    Raises IntegrityViolated if the file does not run, EnvironmentUnfit if this machine cannot run it.
    """
    context = max(map(len, prompts)) + most + 1
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        address = Path(folder) / "llama.sock"
        if len(os.fsencode(address)) > _SOCKET_LIMIT:
            raise EnvironmentUnfit(f"{address}: the path of a socket is too long", hint="Set TMPDIR to a shorter path.")
        client = _Client(address, prompts, most, parallel, seed, f"scoring {what}")
        options: list[str | Path] = ["-m", gguf, "--host", address, "-t", str(cpus()), "-lv", "4", "--offline"]
        options += ["-np", str(parallel), "-c", str(parallel * context), "--no-kv-unified", "--no-cache-prompt"]
        options += ["--cache-ram", "0", "--no-cache-idle-slots", "--no-ui", "--no-slots", "--no-warmup"]
        offload.run(
            "llama-server",
            options,
            gguf=gguf,
            error=IntegrityViolated,
            on_start=client.start,
            environment={"LLAMA_API_KEY": client.key},
            timeout_s=TIMEOUT_S,
        )
    return client.result()


class _Client:
    """Asks a server everything, and ends it. After another start, e.g. without the GPU, it asks what is left."""

    def __init__(
        self, address: Path, prompts: Sequence[Sequence[int]], most: int, parallel: int, seed: int, what: str
    ) -> None:
        self.key = secrets.token_hex(16)
        self._address, self._prompts = address, prompts
        self._most, self._parallel, self._seed = most, parallel, seed
        self._answers: dict[int, str] = {}
        self._fault = ""
        self._bar = Progress(what, len(prompts), "cases")

    def start(self, process: "subprocess.Popen[str]") -> None:
        threading.Thread(target=self._work, args=(process,), daemon=True).start()

    def result(self) -> list[str]:
        """Raises Bug if the server refused a prompt. What went wrong before another start does not count."""
        if len(self._answers) < len(self._prompts):
            raise Bug(f"llama-server answered {len(self._answers)} of {len(self._prompts)} cases: {self._fault}")
        return [self._answers[number] for number in range(len(self._prompts))]

    def _work(self, process: "subprocess.Popen[str]") -> None:
        try:
            self._wait(process)
            left = [number for number in range(len(self._prompts)) if number not in self._answers]
            with ThreadPoolExecutor(self._parallel, "cases") as pool:
                for _ in pool.map(self._ask, left):
                    self._bar.update(len(self._answers))
        except OSError as error:  # the server is gone, and says why
            self._fault = str(error)
        except (ValueError, KeyError, http.client.HTTPException) as error:
            self._fault = f"{type(error).__name__}: {error}"
        process.terminate()

    def _wait(self, process: "subprocess.Popen[str]") -> None:
        """Until the model is loaded."""
        while process.poll() is None:
            try:
                if self._call("GET", "/health", None)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(_POLL_S)
        raise OSError("the server has ended")

    def _ask(self, number: int) -> None:
        request = {
            "prompt": list(self._prompts[number]),
            "n_predict": self._most,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "seed": self._seed,
            "cache_prompt": False,
        }
        status, answer = self._call("POST", "/completion", request)
        if status != 200:
            raise ValueError(f"status {status}: {str(answer)[:300]}")
        self._answers[number] = str(answer["content"])

    def _call(self, method: str, path: str, request: Any) -> tuple[int, Any]:
        connection = _Connection(self._address)
        try:
            body = None if request is None else json.dumps(request, allow_nan=False)
            head = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, body, head)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, address: Path) -> None:
        super().__init__("localhost")
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._address))
