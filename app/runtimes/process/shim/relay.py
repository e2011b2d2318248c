"""Relay a session of a client to the shim of a job: `python -m shim <directory of the sockets> relay`.

The provider cannot reach a socket of another machine. It runs this program by srun on the node of the job. The
program opens a session with the shim there, copies between its own standard streams and the descriptors of the
session, and exits with the code of the session. The request is in an environment variable, as other users can read
arguments; :mod:`shim.sessions` describes it. A session that is refused has exit code 126, and a message.

On a terminal, its own terminal is that of srun; it passes all bytes and the window size on.
"""

import fcntl
import json
import os
import signal
import socket
import stat
import sys
import termios
import threading
import tty
from contextlib import suppress
from typing import Any

from .record import STREAMS_SOCKET, connect

REQUEST = "VIRTUAL_KUBELET_SESSION"
"""The environment variable that has the request, a JSON object."""

_TIMEOUT_SECONDS = 30.0
_CHUNK = 64 * 1024
_ANSWER_LIMIT = 64 * 1024
_REFUSED = 126
_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


def main(sockets: str) -> None:
    """Run a session, and exit with its code."""
    request = json.loads(os.environ.pop(REQUEST))
    try:
        connection = connect(sockets, STREAMS_SOCKET, timeout=_TIMEOUT_SECONDS)
        connection.sendall(json.dumps(request).encode() + b"\n")
        data, fds, _, _ = socket.recv_fds(connection, _ANSWER_LIMIT, len(_STREAMS))
        connection.settimeout(None)
        answer = json.loads(data)
    except (OSError, ValueError):
        _refuse("no container of the pod is running")
    if "streams" not in answer:
        _refuse(answer["message"])
    _copy(dict(zip(answer["streams"], fds, strict=True)), is_terminal=bool(request.get("tty")))
    if "connection" not in answer["streams"]:
        with connection.makefile("rb") as file:
            _exit(json.loads(file.readline() or b"{}"))


def _refuse(message: str) -> Any:
    print(message, file=sys.stderr)  # noqa: T201 - this is a program
    sys.exit(_REFUSED)


def _exit(result: dict[str, Any]) -> None:
    if "exitCode" not in result:
        _refuse(result.get("message", "the shim of the pod was killed"))
    os._exit(result["exitCode"])  # the copying of standard input may wait for ever


def _copy(fds: dict[str, int], *, is_terminal: bool) -> None:
    """Copy standard input in the background, and return at the end of the output."""
    both = fds.get("terminal", fds.get("connection"))
    if both is not None and (is_terminal or "connection" in fds):
        if "terminal" in fds:
            _pass_window_size(both)
        pairs = [(0, both), (both, 1)]
    else:
        pairs = [(0, fds["stdin"])] if "stdin" in fds else []
        pairs += [(fds[name], _STREAMS[name]) for name in ("stdout", "stderr") if name in fds]
    threads = [threading.Thread(target=_pump, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread, (source, _) in zip(threads, pairs, strict=True):
        if source != 0:
            thread.join()


def _pump(source: int, sink: int) -> None:
    with suppress(OSError):  # one end is gone; EIO is the end of a terminal
        while data := os.read(source, _CHUNK):
            while data:
                data = data[os.write(sink, data) :]
    if source == 0:
        _end(sink)


def _end(sink: int) -> None:
    """Pass the end of standard input on; a terminal has none."""
    mode = os.fstat(sink).st_mode
    if stat.S_ISFIFO(mode):
        os.close(sink)
    elif stat.S_ISSOCK(mode):
        with suppress(OSError), socket.socket(fileno=os.dup(sink)) as connection:
            connection.shutdown(socket.SHUT_WR)


def _pass_window_size(terminal: int) -> None:
    if not os.isatty(0):
        return
    tty.setraw(0)

    def resize(*_: object) -> None:
        with suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)

    signal.signal(signal.SIGWINCH, resize)
    resize()
