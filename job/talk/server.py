"""The bundled llama-server as long as somebody talks to it: on loopback, at a port that the kernel chooses, with a key
of its own, which is in its environment and on no command line; no web page, no tools, no network.

It ends with the block, and with this process however that ends.
"""

import ctypes
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

from job import strict_json
from job.errors import EnvironmentUnfit, IntegrityViolated, JobError
from job.llama_cpp import bundle, offload
from job.node import threads
from job.redaction import redact, secret_values
from job.run.child import PR_SET_PDEATHSIG
from job.talk.choice import Model

HOST = "127.0.0.1"
_LISTENS = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_LAST_LINES = 20
_STOP_S = 5.0


class Settings(NamedTuple):
    """`context`: tokens of a conversation; `most`: of an answer; `temperature` 0: the likeliest token each time;
    `plain`: texts are continued, without the model's template."""

    context: int = 4096
    most: int = 512
    temperature: float = 0.0
    seed: int = 0
    plain: bool = False


class TooLong(Exception):
    """A conversation does not fit into the context: it can go on from its beginning."""


class Server:
    """A model that answers."""

    def __init__(self, model: Model, settings: Settings, port: int, key: str) -> None:
        self.model, self._settings, self._port, self._key = model, settings, port, key

    @property
    def converses(self) -> bool:
        """Whether it answers in its template; else it continues texts."""
        return self.model.has_template and not self._settings.plain

    def answer(self, messages: Sequence[Mapping[str, str]]) -> Generator[str, None, bool]:
        """The answer to a conversation, piece by piece, in the model's own template; without one the last message's
        text is continued. The generator's value says whether the answer was cut.

        Raises TooLong, and EnvironmentUnfit if the server has ended.
        """
        asked: dict[str, Any] = {"stream": True, "temperature": self._settings.temperature, "seed": self._settings.seed}
        if self.converses:
            path, asked = (
                "/v1/chat/completions",
                asked | {"messages": list(messages), "max_tokens": self._settings.most},
            )
        else:
            path, asked = "/completion", asked | {"prompt": messages[-1]["content"], "n_predict": self._settings.most}
        try:
            with closing(http.client.HTTPConnection(HOST, self._port)) as connection:
                body = strict_json.dumps(asked).encode()
                head = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
                connection.request("POST", path, body, head)
                reply = connection.getresponse()
                if reply.status != 200:
                    raise _refused(self.model, reply.status, reply.read())
                return (yield from _pieces(reply))
        except (OSError, http.client.HTTPException) as error:
            raise EnvironmentUnfit(
                f"llama-server has ended while {self.model.path.name} answered", hint="It may lack memory."
            ) from error


def _pieces(reply: http.client.HTTPResponse) -> Generator[str, None, bool]:
    """The texts of server-sent events, and whether the answer was cut (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    cut = False
    for line in reply:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise http.client.HTTPException(str(event["error"]))
        choice = (event.get("choices") or [{}])[0]
        text = event.get("content") or (choice.get("delta") or {}).get("content")
        cut = cut or choice.get("finish_reason") == "length" or event.get("stop_type") == "limit"
        if text:
            yield str(text)
    return cut


def _refused(model: Model, status: int, body: bytes) -> Exception:
    try:
        error = json.loads(body)["error"]
        said, kind = str(error["message"]), str(error.get("type"))
    except (ValueError, LookupError, TypeError):
        said, kind = body[:300].decode(errors="replace"), ""
    if kind == "exceed_context_size_error":
        return TooLong(said)
    return IntegrityViolated(f"{model.path.name} does not answer (status {status}): {redact(said)}")


@contextmanager
def serving(model: Model, settings: Settings) -> Iterator[Server]:
    """The model, loaded. With a GPU that fails, it is loaded again with less of it there, as in a run.

    Raises EnvironmentUnfit if this machine cannot run it, IntegrityViolated if llama.cpp cannot.
    """
    context = min(settings.context, model.trained_context or settings.context)
    arguments = [
        bundle.program("llama-server"), "-m", model.path, "--host", HOST, "--port", "0", "-t", threads(),
        "-c", context, "-np", "1",
        "--jinja", "--reasoning-format", "none", "--no-ui", "--no-slots", "--offline", "--no-warmup", "-lv", "4",
    ]  # fmt: skip
    key = secrets.token_urlsafe(32)
    ladder = offload.LADDER if offload.has_gpu() else (offload.WITHOUT_GPU,)
    for rung in ladder:
        environment = _environment() | {"LLAMA_API_KEY": key, "GGML_NO_BACKTRACE": "1"} | rung.environment
        command = [*map(str, arguments), *rung.options]
        with _started(command, environment) as process:
            lines: deque[str] = deque(maxlen=200)
            port = _port(process, lines)
            if port is None:
                fault = _why(model, lines, process.wait())
                if isinstance(fault, offload.GpuFailed) and rung != ladder[-1]:
                    continue
                raise fault
            threading.Thread(target=_drain, args=(process,), daemon=True).start()
            yield Server(model, settings, port, key)
            return


def _environment() -> dict[str, str]:
    """This process's, without what would set other options of the server (LLAMA_ARG_HOST), and without secrets."""
    hidden = set(secret_values())
    given = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    return {name: value for name, value in given.items() if value.strip() not in hidden}


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that is ended with the block. It is in a session of its own: Ctrl-C reaches this process alone."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(environment),
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _port(process: "subprocess.Popen[str]", lines: "deque[str]") -> int | None:
    """The port, once the model is loaded; None if the server has ended."""
    for line in process.stdout or ():
        lines.append(line.rstrip())
        if found := _LISTENS.search(line):
            return int(found[1])
    return None


def _drain(process: "subprocess.Popen[str]") -> None:
    """Reads on, so that a full pipe does not stop the server."""
    with suppress(ValueError):  # it is closed at the end
        for _ in process.stdout or ():
            pass


def _why(model: Model, lines: "deque[str]", status: int) -> JobError:
    """Why a server that has not loaded its model has ended."""
    said = redact("\n".join(list(lines)[-_LAST_LINES:]))
    how = f"was killed by signal {-status}" if status < 0 else f"exited {status}"
    failure = IntegrityViolated(f"llama-server {how} loading {model.path.name}\n{said}")
    return offload.unfit(f"{model.path.name} could not be loaded in llama-server", list(lines), failure) or failure
