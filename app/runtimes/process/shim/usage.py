"""The CPU and memory of the containers of a pod, measured when the provider asks, at most once a second.

The processes of the pod are the descendants of the shim. What a running process has used is in `/proc/PID/stat`,
with the time of its children that have ended and that it has waited for. What a child of the shim has used until
its end is what `wait4` returns. Together these are all processes of a container, with two exceptions after their
end: one whose parent ignores SIGCHLD, as the kernel keeps nothing of it, and, where several containers run, a
daemon that no measurement has found, as a zombie has neither environment nor a known session.

The provider waits for the measurement it asks for.
"""

import calendar
import contextlib
import os
import resource
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .container import Container
from .processes import MARK, Stat, stat
from .record import USAGE, replace

_SHORTEST_SECONDS = 0.1
"""The least time over which a rate is computed: the kernel counts CPU time in hundredths of a second."""


class _Sample(NamedTuple):
    """The CPU time of a run of a container at a time, in seconds since 1970."""

    started: str
    at: float
    cpu: int


class UsageMeter:
    """Measures the containers of a pod.

    Args:
        directory: the directory of the pod instance, in which `usage.json` is written.
        mark: the mark of the pod's processes, without the name of the container.
    """

    def __init__(self, directory: str, mark: str) -> None:
        self._is_asked = False
        self._fresh_until = 0.0
        """The monotonic time until which the last measurement answers a request."""
        self._runs: set[tuple[str, str]] = set()
        """The runs of containers in the last measurement: container and start."""
        self._path = os.path.join(directory, USAGE)
        self._mark = f"{MARK}={mark}".encode()
        self._owners: dict[int, Container] = {}
        """The container of each child of the shim, as of the last measurement."""
        self._ended: dict[tuple[str, str], int] = {}
        """The CPU time of ended children of the shim: container and start of its run → microseconds."""
        self._last: dict[str, _Sample] = {}

    def ask(self) -> None:
        """Request a measurement, which :meth:`measure` makes."""
        self._is_asked = True

    def reaped(self, pid: int, usage: resource.struct_rusage, owner: Container | None) -> None:
        """Count what a child of the shim has used until its end, unless its container has ended too.

        Args:
            pid: the process.
            usage: what `wait4` has returned.
            owner: its container; None for that of the last measurement.
        """
        owner = self._owners.pop(pid, None) or owner
        if owner and owner.pid is not None:
            key = owner.name, owner.started
            used = round((usage.ru_utime + usage.ru_stime) * 1e6)
            self._ended[key] = self._ended.get(key, 0) + used

    def measure(self, now: float, containers: Iterable[Container]) -> None:
        """Write `usage.json` if it is asked for, and is older than a second or lacks a container.

        A file that cannot be written is left as it is.
        """
        if not self._is_asked:
            return
        self._is_asked = False
        running = {container.name: container for container in containers if container.pid is not None}
        runs = {(name, container.started) for name, container in running.items()}
        if now < self._fresh_until and runs <= self._runs:
            return
        self._fresh_until, self._runs, at = now + 1, runs, time.time()
        measured = self._processes(running)
        found = {
            name: self._describe(container, measured.get(name, []), at=at) for name, container in running.items()
        }
        self._ended = {key: used for key, used in self._ended.items() if key in runs}
        with contextlib.suppress(OSError):
            replace(self._path, {"at": at, "containers": found}, durable=False)

    def _describe(self, container: Container, processes: list[Stat], *, at: float) -> dict[str, Any]:
        started = container.started
        cpu = self._ended.get((container.name, started), 0) + sum(process.cpu for process in processes)
        last = self._last.get(container.name)
        if last is None or last.started != started:
            last = _Sample(started, _seconds(started), 0)
        # Processes end while they are read, and are then counted a moment later with their parent.
        cpu = max(cpu, last.cpu)
        self._last[container.name] = _Sample(started, at, cpu)
        return {
            "started": started,
            "cpu": cpu,
            "rate": int((cpu - last.cpu) * 1000 / max(at - last.at, _SHORTEST_SECONDS)),
            "memory": sum(process.memory for process in processes),
            "processes": sum(process.is_alive for process in processes),
        }

    def _processes(self, running: dict[str, Container]) -> dict[str, list[Stat]]:
        """Return the processes of each container."""
        mains = {container.pid: container for container in running.values()}
        found: dict[str, list[Stat]] = {}
        owners = {}
        for child in _children(os.getpid()):
            owner = mains.get(child) or self._owners.get(child) or running.get(self._marked(child))
            if owner:
                owners[child] = owner
                found.setdefault(owner.name, []).extend(_subtree(child))
        self._owners = owners
        return found

    def _marked(self, pid: int) -> str:
        """Return the name of the container that a process is marked with; empty without a mark of this pod."""
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            for variable in file.read().split(b"\0"):
                if variable.startswith(self._mark):
                    return variable.removeprefix(self._mark).decode()
        return ""


def _subtree(pid: int) -> Iterator[Stat]:
    """Yield a process and its descendants."""
    with contextlib.suppress(OSError):  # it has ended
        yield stat(pid)
        for child in _children(pid):
            yield from _subtree(child)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
            found += map(int, file.read().split())
    return found


def _seconds(started: str) -> float:
    """Return the seconds since 1970 of a time in `state.json`, with their fraction."""
    fraction = float(f"0{started[19:].rstrip('Z')}")
    return calendar.timegm(time.strptime(started[:19], "%Y-%m-%dT%H:%M:%S")) + fraction
