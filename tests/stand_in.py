"""Stands in for a process that is forked elsewhere (`tests/forks.py`)."""

import ctypes
import json
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - pathlib takes as long to import as all of this
    descriptors = [number for number in descriptors if _is_open(number)]  # not that of the listing itself
    asked = {
        "arguments": sys.argv[2:],
        "environ": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "descriptors": descriptors,
        "process": os.getpid(),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(sys.argv[1])
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: connection.send(str(int(number)).encode()))
        socket.send_fds(connection, [json.dumps(asked).encode()], descriptors)
        code = int(connection.recv(16) or 70)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


main()
