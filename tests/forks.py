"""A process that has imported torch, transformers, PEFT and TRL, from which the stages of tests' runs are forked.

Importing them takes a stage longer than its work on a tiny model. `python()` is a program that a run is given for its
interpreter: `python -m job stage NAME …` of a stage that trains or exports becomes a stand-in (`tests/stand_in.py`).
It asks for a fork with its arguments, environment, folder and descriptors, passes signals on to it, and ends as it
ends. Everything else is the real interpreter: the run itself, and stages that import nothing of size.

    server -- fork -- keeper -- fork -- the stage
                         |
                      stand-in, a child of the run

The keeper holds the stand-in's connection: if that ends, it kills the stage; if the stage ends, it says how.
"""

import atexit
import ctypes
import fcntl
import functools
import importlib
import json
import logging
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from job.run import child
from tests import ROOT

STAGES = {name: module for name, module in child.STAGES.items() if name != "fetch"}
IMPORTS = (
    "bitsandbytes", "datasets", "peft", "sentencepiece", "tensorboard", "torch.utils.tensorboard", "torch",
    "transformers.models.llama.modeling_llama", "transformers", "transformers.trainer", "trl",
    "trl.trainer.sft_trainer",
    "job.__main__", "job.train.arguments", "job.train.callbacks", "job.train.model", "job.train.padding",
    "job.train.precision", "job.train.resume", "job.train.samples", "job.train.trace",
    *STAGES.values(),
)  # fmt: skip
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_HIGH = 200
"""Descriptors that arrive are moved up here before each gets the number that it had."""


@functools.cache
def python() -> str:
    """The program. The server starts with its first use and ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    program, address = folder / "python", folder / "socket"
    stand_in = shlex.join([sys.executable, "-IS", str(ROOT / "tests" / "stand_in.py"), str(address)])
    asked = "|".join(f'"-m job stage {name}"' for name in STAGES)
    real = shlex.quote(sys.executable)
    program.write_text(
        f'#!/bin/sh\ncase "$1 $2 $3 $4" in {asked}) exec {stand_in} "$@" ;; *) exec {real} "$@" ;; esac\n'
    )
    program.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "AWS_", "FINETUNE"))}
    environ["HF_HOME"] = str(folder / "hf")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forks", str(address)], cwd=ROOT, env=environ, stdout=subprocess.PIPE
    )
    atexit.register(_end, server, folder)
    assert server.stdout and server.stdout.readline()  # it listens; whoever asks before it has imported all waits
    return str(program)


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    import shutil

    server.kill()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)


def serve(address: str) -> NoReturn:
    """Forks a keeper for each connection."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        os.write(1, b"listening\n")
        child.refuse_hub_kernels()
        logging.disable()  # what they say when they are imported nobody asked for
        for name in IMPORTS:
            importlib.import_module(name)
        logging.disable(logging.NOTSET)
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
        number = connection.recv(16)
        os.kill(stage, int(number) if number else signal.SIGKILL)
        if not number:
            os._exit(0)


def _become(asked: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """This process becomes the stage: its descriptors, environment, folder, arguments, session."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH) for descriptor in descriptors]
    for descriptor, number in zip(high, asked["descriptors"], strict=True):
        os.dup2(descriptor, number)
    os.closerange(max(asked["descriptors"]) + 1, _HIGH + len(high))
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    sys.argv = ["job", *asked["arguments"][2:]]
    if fault := os.environ.get("FINETUNE_TEST_FAULT"):
        importlib.import_module("tests.faults.in_a_stage").inject(fault)
    from job.__main__ import main

    main()


if __name__ == "__main__":
    serve(sys.argv[1])
