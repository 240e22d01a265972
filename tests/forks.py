"""Processes that have imported what takes a while, from which those of tests are forked.

Importing torch, transformers, PEFT and TRL takes a stage longer than its work on a tiny model, and a command of the
launcher spends most of its time on importing kubernetes. `python()` is a program in place of the interpreter: what is
in COMMANDS, and each stage of a run, becomes a stand-in (`tests/stand_in.py`). It asks for a fork with its arguments,
environment, folder and descriptors, passes signals on to it, and ends as it ends. Everything else is the real
interpreter.

    server -- fork -- keeper -- fork -- the command or stage
                         |
                      stand-in, a child of the test or of the run

The keeper holds the stand-in's connection: if that closes, it kills the fork, with its group; if the fork ends, it says
how. There are two servers: one for what imports torch, and one for everything else.
"""

import atexit
import ctypes
import fcntl
import functools
import gc
import importlib
import json
import logging
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from job.run import child
from tests import ROOT

STAGES = {name: module for name, module in child.STAGES.items() if name != "fetch"}
"""Those that import torch."""
COMMANDS = ("bench.gpu", "job", "k8s.launch", "tests.run_forked")
"""Modules that are run with -m."""
IMPORTS_OF_STAGES = (
    "bitsandbytes", "datasets", "peft", "sentencepiece", "tensorboard", "torch.utils.tensorboard", "torch",
    "transformers.models.llama.modeling_llama", "transformers", "transformers.trainer", "trl",
    "trl.trainer.sft_trainer",
    "job.__main__", "job.train.arguments", "job.train.callbacks", "job.train.model", "job.train.padding",
    "job.train.precision", "job.train.resume", "job.train.samples", "job.train.trace", "job.train.trainer",
    *STAGES.values(),
)  # fmt: skip
IMPORTS_OF_COMMANDS = (
    "boto3", "jinja2", "kubernetes.client", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
    "numpy", "psutil", "pyarrow.parquet", "rich.progress", "ruamel.yaml",
    "job.__main__", "job.dataset", "job.fetch.stage", "job.predict.prediction", "job.run.active_run", "job.store.s3",
    "k8s.ask", "k8s.launch", "k8s.prepare",
)  # fmt: skip
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_HIGH = 200
"""Descriptors that arrive are moved up here before each gets the number that it had."""


@functools.cache
def python() -> str:
    """The program. Its servers start with their first use and end with this process."""
    _start("stages")
    return commands()


@functools.cache
def commands() -> str:
    """The same for commands that run no stage: nothing imports torch for them."""
    _start("commands")
    return str(_program())


@functools.cache
def _program() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    stages = "|".join(f'"-m {what} "*' for what in ("bench.gpu --child", *(f"job stage {name}" for name in STAGES)))
    modules = "|".join(f'"-m {module} "*' for module in COMMANDS)
    program = folder / "python"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1 $2 $3 $4 " in\n'
        f'{stages}) exec {_stand_in(folder / "stages")} "$@" ;;\n'
        f'{modules}) exec {_stand_in(folder / "commands")} "$@" ;;\n'
        f'*) exec {shlex.quote(sys.executable)} "$@" ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return program


def _stand_in(address: Path) -> str:
    return shlex.join([sys.executable, "-IS", str(ROOT / "tests" / "stand_in.py"), str(address)])


def _start(what: str) -> None:
    program = _program()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "AWS_", "FINETUNE"))}
    environ["HF_HOME"] = str(program.with_name("hf"))
    command = [sys.executable, "-m", "tests.forks", program.with_name(what), program]
    server = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    atexit.register(_end, server)
    assert server.stdout and server.stdout.readline()  # it listens; whoever asks before it has imported all waits


def _end(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()


def serve(address: str, program: str) -> NoReturn:
    """Forks a keeper for each connection."""
    imports = IMPORTS_OF_STAGES if Path(address).name == "stages" else IMPORTS_OF_COMMANDS
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        os.write(1, b"listening\n")
        child.refuse_hub_kernels()
        logging.disable()  # what they say when they are imported nobody asked for
        for name in imports:
            importlib.import_module(name)
        logging.disable(logging.NOTSET)
        if imports is IMPORTS_OF_COMMANDS:
            assert "huggingface_hub.constants" not in sys.modules, "it reads the environment when it is imported"
            sys.executable = program
        gc.freeze()  # a fork's collections leave these pages shared
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _keep(connection)
            connection.close()


def _keep(connection: socket.socket) -> NoReturn:
    """Starts what is asked for, passes signals on, and says how it ended; kills it if the stand-in is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 64)
    if not message:
        os._exit(0)
    stage = os.fork()
    if stage == 0:
        connection.close()
        _become(json.loads(message), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(stage)
    while True:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            _, status = os.waitpid(stage, 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        if number := connection.recv(16):
            os.kill(stage, int(number))
            continue
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(stage, signal.SIGKILL)
        os.kill(stage, signal.SIGKILL)
        os._exit(0)


def _become(asked: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """This process becomes what was asked for: its mounts, descriptors, environment, folder, arguments, session."""
    _enter_mounts_of(asked["process"])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # with its keeper, if that is killed
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH) for descriptor in descriptors]
    for descriptor, number in zip(high, asked["descriptors"], strict=True):
        os.dup2(descriptor, number)
    os.closerange(max(asked["descriptors"]) + 1, _HIGH + len(high))
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    if kubernetes := sys.modules.get("kubernetes.config.kube_config"):  # it reads this when it is imported
        kubernetes.KUBE_CONFIG_DEFAULT_LOCATION = os.environ.get("KUBECONFIG", "~/.kube/config")  # type: ignore[attr-defined]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    # The streams that were there know of the server's files whether they can be sought in.
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1, closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]
    _, module, *arguments = asked["arguments"]
    if "torch" in sys.modules and (fault := os.environ.get("FINETUNE_TEST_FAULT")):
        importlib.import_module("tests.faults.in_a_stage").inject(fault)
    sys.argv = [module, *arguments]
    sys.modules.pop(f"{module}.__main__" if hasattr(sys.modules.get(module), "__path__") else module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


def _enter_mounts_of(process: int) -> None:
    """Sees what the stand-in sees, if that has mounts of its own (setns(2))."""
    for kind in ("user", "mnt"):
        theirs = Path(f"/proc/{process}/ns/{kind}")
        if theirs.readlink() != Path(f"/proc/self/ns/{kind}").readlink():
            with theirs.open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
                    raise OSError(ctypes.get_errno(), f"setns to {theirs}")


if __name__ == "__main__":
    serve(*sys.argv[1:])
