"""What a shim writes down, and what it is told: the files of one life of a pod.

* `state.json`: the last moments, each with what every container was in then. It is replaced whole, and on the disk
  before it is acted upon: a container is recorded as running before it is run.
* `stop.json`: that the pod shall end, when, and why. The provider writes it.
* `stop.fifo`: rung when `stop.json` is new, so that nobody has to look for it again and again.

Times that are written down are RFC 3339, to the microsecond.
"""

import contextlib
import json
import os
import time
from typing import Any, NamedTuple

STATE = "state.json"
STOP = "stop.json"
WAKE_FIFO = "stop.fifo"

_MOMENTS = 100
"""How many moments are kept. Whoever looks less often than they pass misses the older ones."""


class Stop(NamedTuple):
    """That the pod shall end.

    Attributes:
        at: from when on, in microseconds since 1970.
        grace: how many seconds its containers get to end by themselves.
        reason: the reason that its status gets; None where it was deleted.
    """

    at: int
    grace: float
    reason: str | None


class Record:
    """The files of one life of a pod, as its shim uses them.

    Raises:
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._moments: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError), open(self._path(STATE), "rb") as file:
            self._moments = json.load(file)["moments"]
        self._stored = True
        self._at = 0
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path(WAKE_FIFO), 0o600)
        # Open for writing too, or it would be at its end whenever nobody else has it open.
        self.bell = os.open(self._path(WAKE_FIFO), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def containers(self) -> dict[str, Any]:
        """What every container was in at the last moment; nothing before the first."""
        containers: dict[str, Any] = self._moments[-1]["containers"] if self._moments else {}
        return containers

    def add(self, containers: dict[str, Any], *, final: bool = False, reason: str | None = None) -> None:
        """Write a moment down, unless nothing has changed since the last that is on the disk.

        Args:
            containers: name → what it is in.
            final: nothing will ever follow.
            reason: why the pod was ended.

        Raises:
            OSError: it could not be written.
        """
        moment = {"containers": containers, "final": final, "reason": reason}
        if not self._moments or {**self._moments[-1], "at": None} != {**moment, "at": None}:
            self._at = max(time.time_ns() // 1000, self._at + 1)
            self._moments = [*self._moments[1 - _MOMENTS :], {**moment, "at": rfc3339_micro(self._at)}]
        elif self._stored:
            return
        self._stored = False
        replace(self._path(STATE), {"moments": self._moments})
        self._stored = True

    def stop(self) -> Stop | None:
        """Read what the shim was told."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.bell, 4096)
        try:
            with open(self._path(STOP), "rb") as file:
                stop = json.load(file)
        except FileNotFoundError:
            return None
        return Stop(at=stop["at"], grace=stop["grace"], reason=stop["reason"])

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def rfc3339_micro(microseconds: int) -> str:
    """Write a time that is given as microseconds since 1970."""
    seconds, rest = divmod(microseconds, 10**6)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}Z"


def replace(path: str, document: object) -> None:
    """Write a file so that it is there whole, or not at all, whatever happens.

    Raises:
        OSError: it could not be written; what was there before is there still.
    """
    # Providers may write the same file at once; shims never have two threads.
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with open(temporary, "x", encoding="utf-8", opener=_private) as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
