"""Python programs in processes that have imported the libraries already.

Most of the CPU time in which a program of this repository starts is that of its libraries' imports. So a process
imports them once, and forks for each program, which then imports the modules of this repository by itself.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile
from threading import Lock

ROOT = Path(__file__).parent.parent
LIBRARIES = (
    "alembic.command",
    "flask_cors",
    "jinja2.ext",
    "msgspec.json",
    "orjson",
    "psycopg",
    "pydantic_settings",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
    "structlog",
    "websockets.server",
    "yaml",
)
"""All but prometheus_client and gunicorn, which read environment variables when they are imported."""

Streams = tuple[int, int, int]

_one_at_a_time = Lock()
_INTEGER = struct.Struct("i")
_LONGEST = 1 << 20  # bytes of a request


class Program:
    """A program in a session of its own; as a :class:`subprocess.Popen`, as far as the tests use it.

    Args:
        program: what `python` runs: the name of a module, or a path.
        environment: all of its variables.
        streams: descriptors of standard input, output and error.
    """

    def __init__(
        self, program: str, *arguments: str, cwd: Path, environment: Mapping[str, str], streams: Streams
    ) -> None:
        request = {"program": program, "arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        self._reports, theirs = socket.socketpair()
        with theirs, _one_at_a_time:
            socket.send_fds(_server(), [json.dumps(request).encode()], [theirs.fileno(), *streams])
        self.pid = self._receive()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status; None while the program runs."""
        return self._end_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the program, and return its exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        code = self._end_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if the program runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _end_within(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._reports], [], [], timeout)[0]:
            self.returncode = self._receive()
            self._reports.close()
        return self.returncode

    def _receive(self) -> int:
        number: int = _INTEGER.unpack(self._reports.recv(_INTEGER.size, socket.MSG_WAITALL))[0]
        return number


def run(program: str, *arguments: str, cwd: Path, environment: Mapping[str, str]) -> CompletedProcess[str]:
    """Run a program without input; return its exit status and its output. It has a minute."""
    with open(os.devnull, "rb") as nothing, TemporaryFile("r+") as stdout, TemporaryFile("r+") as stderr:
        streams = (nothing.fileno(), stdout.fileno(), stderr.fileno())
        process = Program(program, *arguments, cwd=cwd, environment=environment, streams=streams)
        try:
            code = process.wait(60)
        finally:
            process.send_signal(signal.SIGKILL)
        stdout.seek(0)
        stderr.seek(0)
        return CompletedProcess([program, *arguments], code, stdout.read(), stderr.read())


@cache
def _server() -> socket.socket:
    """Start the process that forks; return the socket for requests. It ends when that is closed."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LONGEST)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    atexit.register(_stop, ours, process)
    return ours


def _stop(requests: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    requests.close()
    process.wait()


def main(requests: socket.socket) -> None:
    """Fork for each request. Return in the process that runs a program, when it has run."""
    for name in LIBRARIES:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the processes that wait for a program
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 4)
        if not request:
            return
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    requests.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _fork_and_report(*descriptors)
    _run(**json.loads(request))


def _fork_and_report(reports: int, *streams: int) -> None:
    """Return in a child with these standard streams; tell its process ID, and at its end its exit status."""
    pid = os.fork()
    if pid == 0:
        os.close(reports)
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    if pid != 0:
        os.write(reports, _INTEGER.pack(pid))
        os.write(reports, _INTEGER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
        os._exit(0)


def _run(program: str, arguments: list[str], cwd: str, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    path = environment.get("PYTHONPATH")
    is_path = os.path.isabs(program)
    sys.path[:1] = [*([] if is_path else [cwd]), *(path.split(os.pathsep) if path else ())]
    sys.argv[1:] = arguments
    if is_path:
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
