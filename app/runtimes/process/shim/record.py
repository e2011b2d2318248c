"""The files that a shim and the provider exchange about one instance of a pod.

* `state.json`: the last observations, each with the state of every container. The shim replaces the file
  atomically, and before it acts: a container is recorded as running before it runs.
* `stop.json`: the request to end the pod, with its time and reason. The provider writes it.
* `stop.fifo`: the provider writes to it after `stop.json`, so that the shim need not poll, and to ask for usage.
* `usage.json`: what the containers use, which the shim measures when it is asked.
* `plan.socket`: the provider sends it the plan of a changed pod. A plan contains secrets, so it is in no file.
* `streams.socket`: the provider opens sessions by it; see :mod:`shim.sessions`.

Times are RFC 3339 with microseconds.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

STATE = "state.json"
STOP = "stop.json"
USAGE = "usage.json"
WAKE_FIFO = "stop.fifo"
WANTS_STOP, WANTS_USAGE = b"\n", b"u"
"""What the provider writes to the pipe: that `stop.json` was written, or that it wants `usage.json`."""
OBSERVATIONS = "moments"
"""The key of the observations in `state.json`: as in earlier versions, whose shims may outlive an upgrade."""
PLAN_SOCKET = "plan.socket"
STREAMS_SOCKET = "streams.socket"

_PLAN_TIMEOUT_SECONDS = 1.0
"""How long a plan may take to arrive: the provider sends it at once."""
_OBSERVATION_LIMIT = 100
"""How many observations are kept. A provider that reads too seldom misses older ones."""


class StopRequest(NamedTuple):
    """A request to end the pod.

    Attributes:
        at: the time to end it, in microseconds since 1970; 0 for now.
        grace: the grace period from then on, in seconds.
        reason: the reason in its status; None for a deletion, which is due at once.
    """

    at: int
    grace: float
    reason: str | None

    def is_due(self, now: float) -> bool:
        """Return whether the pod is to be ended at a time, in seconds since 1970."""
        return self.reason is None or self.at / 1e6 <= now

    def remaining_grace(self, now: float) -> float:
        """Return the seconds that are left of the grace period at a time; a restarted shim adds none."""
        passed = max(0.0, now - self.at / 1e6) if self.at else 0.0
        return max(0.0, self.grace - passed)


class Record:
    """The files of one instance of a pod, from the side of its shim.

    Args:
        directory: the directory of the instance.
        sockets: that of the pipe and the sockets, where it is another one: they belong to one machine.

    Raises:
        OSError: a directory cannot be read or written.
    """

    def __init__(self, directory: str, sockets: str | None = None) -> None:
        self.directory = directory
        sockets = sockets or directory
        self._observations: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError), open(self._path(STATE), "rb") as file:
            self._observations = json.load(file)[OBSERVATIONS]
        self._is_stored = True
        self._at = 0
        with contextlib.suppress(FileExistsError):
            os.mkfifo(os.path.join(sockets, WAKE_FIFO), 0o600)
        # Also open for writing: otherwise the pipe is at its end whenever no provider has it open.
        self.wake_fifo = os.open(os.path.join(sockets, WAKE_FIFO), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.plan_socket = _listen(sockets, PLAN_SOCKET)
        self.streams_socket = _listen(sockets, STREAMS_SOCKET)

    @property
    def containers(self) -> dict[str, Any]:
        """The state of every container at the last observation; empty before the first."""
        containers: dict[str, Any] = self._observations[-1]["containers"] if self._observations else {}
        return containers

    def add(
        self,
        containers: dict[str, Any],
        *,
        final: bool = False,
        reason: str | None = None,
        message: str | None = None,
    ) -> None:
        """Append an observation and write `state.json`, unless nothing has changed since the last write.

        Args:
            containers: name → state.
            final: whether no observation follows.
            reason: the reason of the stop request.
            message: for the status of the pod.

        Raises:
            OSError: the file could not be written.
        """
        observation = {"containers": containers, "final": final, "reason": reason, "message": message}
        if not self._observations or {**self._observations[-1], "at": None} != {**observation, "at": None}:
            self._at = max(time.time_ns() // 1000, self._at + 1)
            self._observations = [
                *self._observations[1 - _OBSERVATION_LIMIT :],
                {**observation, "at": rfc3339_micro(self._at)},
            ]
        elif self._is_stored:
            return
        self._is_stored = False
        replace(self._path(STATE), {OBSERVATIONS: self._observations})
        self._is_stored = True

    def empty_pipe(self) -> bool:
        """Read what the provider has written to the pipe; return whether it asks for usage."""
        with contextlib.suppress(BlockingIOError):
            return WANTS_USAGE in os.read(self.wake_fifo, 4096)
        return False

    def stop(self) -> StopRequest | None:
        """Read `stop.json`. None if no stop was requested."""
        try:
            with open(self._path(STOP), "rb") as file:
                stop = json.load(file)
        except FileNotFoundError:
            return None
        return StopRequest(at=stop["at"], grace=stop["grace"], reason=stop["reason"])

    def receive_plan(self) -> Any:
        """Read the plan that a provider sends; None if it is incomplete: the provider sends it again."""
        try:
            connection, _ = self.plan_socket.accept()
            with connection, connection.makefile("rb") as file:
                connection.settimeout(_PLAN_TIMEOUT_SECONDS)
                return json.load(file)
        except (OSError, ValueError):
            return None

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def send_plan(directory: str, plan: dict[str, Any]) -> None:
    """Send a plan to the shim of an instance, if one listens.

    Raises:
        OSError: the shim does not read it.
    """
    # If no shim listens, the next one starts with this plan.
    with (
        contextlib.suppress(FileNotFoundError, ConnectionRefusedError),
        connect(directory, PLAN_SOCKET, timeout=_PLAN_TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(json.dumps(plan).encode())


def connect(directory: str, name: str, *, timeout: float) -> socket.socket:
    """Return a connection to a socket of the shim of an instance.

    Args:
        name: PLAN_SOCKET or STREAMS_SOCKET.
        timeout: the seconds that each operation may take.

    Raises:
        FileNotFoundError: there is no such socket.
        ConnectionRefusedError: no shim listens.
        OSError: the shim does not answer.
    """
    connection = _unix_socket()
    try:
        connection.settimeout(timeout)
        with _short_path(directory, name) as path:
            connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _listen(directory: str, name: str) -> socket.socket:
    listener = _unix_socket()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, name))
    with _short_path(directory, name) as path:
        listener.bind(path)
        os.chmod(path, 0o600)
    listener.listen()
    listener.setblocking(False)
    return listener


def _unix_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@contextlib.contextmanager
def _short_path(directory: str, name: str) -> Iterator[str]:
    """Yield a path of a socket that is short enough for an address, at most 107 bytes."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def rfc3339_micro(microseconds: int) -> str:
    """Format a time in microseconds since 1970."""
    seconds, rest = divmod(microseconds, 10**6)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}Z"


def replace(path: str, document: object, *, durable: bool = True) -> None:
    """Replace a file atomically with a JSON document.

    Args:
        durable: flush it to the disk.

    Raises:
        OSError: the document could not be written; the old file remains.
    """
    # Several providers may write the same file at once.
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with open(temporary, "x", encoding="utf-8", opener=_private) as file:
            json.dump(document, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if not durable:
        return
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
