"""Starts Zapline's programs from a process that has imported them: an import costs seconds of CPU time, a fork none.

Each program runs in a process of its own all the same: with its own signals, environment, working directory and
standard streams, in a session of its own, and interrupted by the kernel when the tests end before it.
"""

import atexit
import ctypes
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

PREPARED = ("zapline.daemon.composition.app", "zapline.sandbox.simulator.server", "zapline.supervisors.units")
DAEMON, COMMAND, SIMULATOR = "zapline.daemon.cli", "zapline.daemon.cli", "zapline.sandbox.simulator.server"
"""Modules whose ``main`` is run."""
_LENGTH = 4
_LARGEST = 2**20
_PR_SET_PDEATHSIG = 1


class PreparedProcess:
    """A running program, with the part of ``subprocess.Popen``'s interface that the tests use."""

    def __init__(self, pid: int, status: socket.socket, arguments: Sequence[str]) -> None:
        self.pid = pid
        self.args = arguments
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._read_status()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Block until it has ended. Raises ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            self._read_status()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read_status(self) -> None:
        told = self._status.recv(_LENGTH)
        assert told, "the process that starts programs has ended"
        self.returncode = int.from_bytes(told, "big", signed=True)
        self._status.close()


def start(
    program: str | Path,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: IO[Any] | int | None = None,
    stdout: IO[Any] | int,
    stderr: IO[Any] | int | None = None,
) -> PreparedProcess:
    """Start a module's ``main``, or a script by its path. Without ``stderr`` it is that of the tests."""
    with open(os.devnull, "rb") as nothing:
        streams = [stdin or nothing, stdout, 2 if stderr is None else stderr]
        files = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
        request = {"program": str(program), "arguments": list(arguments), "env": dict(env), "cwd": os.getcwd()}
        ours, theirs = socket.socketpair()
        with theirs:
            pid = _preparer().request(json.dumps(request).encode(), [*files, theirs.fileno()])
    return PreparedProcess(pid, ours, [str(program), *arguments])


class _Preparer:
    """The process that has imported the programs and forks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._socket.settimeout(60)
        atexit.register(self.close)

    def request(self, content: bytes, files: Sequence[int]) -> int:
        socket.send_fds(self._socket, [content], list(files))
        told = self._socket.recv(_LENGTH)
        assert told, "the process that starts programs has ended"
        return int.from_bytes(told, "big")

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)


@cache
def _preparer() -> _Preparer:
    return _Preparer()


# -- in the process that forks --------------------------------------------------------------------------------


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns the request in the child, and None in the parent when the tests have ended."""
    statuses: dict[int, socket.socket] = {}
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        readable = select.select([connection, wake], [], [])[0]
        if wake in readable:
            wake.recv(4096)
            _reap(statuses)
        if connection not in readable:
            continue
        content, files, _, _ = socket.recv_fds(connection, _LARGEST, 4)
        if not content:
            return None
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _take_streams(files)
            request: dict[str, Any] = json.loads(content)
            return request
        statuses[pid] = socket.socket(fileno=files[3])
        for file in files[:3]:
            os.close(file)
        connection.send(pid.to_bytes(_LENGTH, "big"))


def _reap(statuses: dict[int, socket.socket]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with statuses.pop(pid) as told, suppress(OSError):
            told.send(os.waitstatus_to_exitcode(status).to_bytes(_LENGTH, "big", signed=True))


def _take_streams(files: Sequence[int]) -> None:
    """Make the files the standard streams, and close all others."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 2**16 else 2**16)


def _run(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    program = request["program"]
    sys.argv = [program, *request["arguments"]]
    if program.endswith(".py"):
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
    else:
        importlib.import_module(program).main()


if __name__ == "__main__":
    for name in PREPARED:
        importlib.import_module(name)
    received = _serve(socket.socket(fileno=int(sys.argv[1])))
    if received is not None:
        _run(received)
