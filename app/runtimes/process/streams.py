"""Sessions with the shim of a pod, from the side of the provider.

:mod:`app.runtimes.process.shim.sessions` has the other side, and describes the messages.
"""

import errno
import json
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from app.core.errors import InvalidRequest, NotFound, NotSupported, ProviderError, Unavailable
from app.runtimes.process.shim import record
from app.runtimes.streams import Session, StreamOptions, set_window_size

_TIMEOUT_SECONDS = 30.0
"""How long a shim may take to answer: it answers at once, unless the machine is overloaded."""
_ANSWER_LIMIT = 64 * 1024
_MAX_DESCRIPTORS = 3
_ERRORS: dict[str, type[ProviderError]] = {"NotFound": NotFound, "InvalidRequest": InvalidRequest}
_NO_SHIM = "no container of the pod is running"
_OLD_SHIM = "the pod was started by an earlier version of the provider: delete and create it again"


class PodStreams(ABC):
    """Opens sessions with the shim of a pod.

    Each method may raise NotFound, if the container does not run, and Unavailable, if its shim cannot be reached.
    """

    def run(self, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
        """Run a command in a container.

        Raises:
            InvalidRequest: the command cannot be started.
        """
        return self._open({"type": "exec", "container": container, "command": list(command)}, streams)

    def attach(self, container: str, streams: StreamOptions, *, ends_input: bool) -> Session:
        """Attach to the streams of a container.

        A container without standard input takes none, as with containerd. The window size is that of the
        container's terminal, if it has one.

        Args:
            ends_input: whether the end of the client's input is that of the container's; otherwise it detaches.
        """
        session = self._open({"type": "attach", "container": container}, streams)
        return session if ends_input else replace(session, input_ended=session.hang_up)

    @abstractmethod
    def connect(self, port: int) -> socket.socket:
        """Return a connection to a port on which a process of the pod listens."""

    @abstractmethod
    def _open(self, request: dict[str, Any], streams: StreamOptions) -> Session: ...


class ShimStreams(PodStreams):
    """Opens sessions with a shim on this machine.

    Each method may raise NotSupported, if the shim is of an earlier version.

    Args:
        directory: the directory of the pod instance.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def connect(self, port: int) -> socket.socket:
        """Return a connection to a port on which a process of the pod listens."""
        link, fds = _open(self._directory, {"type": "portForward", "port": port})
        link.close()
        return socket.socket(fileno=fds["connection"])

    def _open(self, request: dict[str, Any], streams: StreamOptions) -> Session:
        link, fds = _open(self._directory, {**request, "streams": streams.names, "tty": streams.tty})
        if request["type"] == "attach":
            link.terminal = fds.pop("terminal", None)
        return Session(
            wait=link.wait,
            hang_up=link.hang_up,
            stdin=fds.get("stdin"),
            stdout=fds.get("stdout"),
            stderr=fds.get("stderr"),
            terminal=fds.get("terminal"),
            resize=None if "terminal" in fds else link.resize,
        )


class _Link:
    """The connection to a shim that stands for a session.

    `wait` is called in a thread, the others by an event loop; no descriptor is closed while another call uses it.

    Attributes:
        terminal: descriptor of the master of the container's terminal, for its window size only.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.terminal: int | None = None
        self._connection = connection
        self._lock = Lock()

    def wait(self) -> int:
        try:
            self._connection.settimeout(None)
            with self._connection.makefile("rb") as file:
                line = file.readline()
        except OSError:
            line = b""
        finally:
            self.close()
        if not line:
            raise Unavailable("the shim of the pod was killed")
        result = json.loads(line)
        if "exitCode" not in result:
            raise _error(result)
        code: int = result["exitCode"]
        return code

    def hang_up(self) -> None:
        with self._lock, suppress(OSError):  # it has ended
            self._connection.shutdown(socket.SHUT_WR)

    def resize(self, width: int, height: int) -> None:
        with self._lock, suppress(OSError):  # the terminal is gone
            if self.terminal is not None:
                set_window_size(self.terminal, width, height)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            if self.terminal is not None:
                os.close(self.terminal)
                self.terminal = None


def _open(directory: Path, request: dict[str, Any]) -> tuple[_Link, dict[str, int]]:
    """Open a session; return its connection and the descriptors by name."""
    try:
        connection = record.connect(str(directory), record.STREAMS_SOCKET, timeout=_TIMEOUT_SECONDS)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        if isinstance(exc, FileNotFoundError) and (directory / record.PLAN_SOCKET).exists():
            raise NotSupported(_OLD_SHIM) from exc
        raise NotFound(_NO_SHIM) from exc
    except OSError as exc:
        raise Unavailable(f"the shim of the pod does not answer: {exc.strerror or 'timed out'}") from exc
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        return _Link(connection), _receive(connection)
    except OSError as exc:
        connection.close()
        raise Unavailable(f"the shim of the pod does not answer: {exc.strerror or 'timed out'}") from exc
    except ProviderError:
        connection.close()
        raise


def _receive(connection: socket.socket) -> dict[str, int]:
    """Receive an answer; return its descriptors by name.

    Raises:
        OSError: the shim ends before it answers, or does not answer in time, or this process has too many
            descriptors open: then the kernel passes fewer than were sent.
        ProviderError: the shim refuses the session.
    """
    # The first part of a message brings its descriptors.
    data, fds, _, _ = socket.recv_fds(connection, _ANSWER_LIMIT, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    try:
        while not data.endswith(b"\n"):
            more = connection.recv(_ANSWER_LIMIT)
            if not more:
                raise ConnectionResetError(0, "it was killed")
            data += more
        answer: dict[str, Any] = json.loads(data)
        if "streams" not in answer:
            raise _error(answer)
        if len(fds) != len(answer["streams"]):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    except (OSError, ProviderError):
        for fd in fds:
            os.close(fd)
        raise
    return dict(zip(answer["streams"], fds, strict=True))


def _error(answer: dict[str, Any]) -> ProviderError:
    return _ERRORS.get(answer["reason"], Unavailable)(answer["message"])
