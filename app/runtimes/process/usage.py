"""The usage of a pod of processes: what its shim measures."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from app.core.timestamps import rfc3339, rfc3339_micro
from app.kubernetes.stats import ContainerStats, CPUStats, FsStats, MemoryStats
from app.runtimes.process.machine import filesystem
from app.runtimes.process.pod_dir import PodDirectory
from app.runtimes.process.shim.disk import occupied
from app.runtimes.process.shim.record import USAGE
from app.runtimes.usage import PodUsage, ReadyHistory, RunningContainer

_OLDEST_SECONDS = 60
"""The longest time between a measurement and the time for which it is reported.

An older one was made before a time at which nobody asked, and a rate since then would be an average.
"""

_STORAGE_SECONDS = 10
_WAIT_SECONDS, _PAUSE_SECONDS = 1.0, 0.005
"""How long the measurements of a request are waited for, and the time between two reads."""


class _Container(msgspec.Struct, frozen=True):
    """A container in `usage.json`: CPU time in microseconds, current CPU in billionths of a core, bytes.

    A shim that an earlier version has started does not count the processes.
    """

    started: str
    cpu: int
    rate: int
    memory: int
    processes: int | None = None


class Measurement(msgspec.Struct, frozen=True):
    """The content of `usage.json`; `at` is in seconds since 1970."""

    at: float
    containers: dict[str, _Container]


_DECODER = msgspec.json.Decoder(Measurement)


class ProcessUsage(PodUsage):
    """Asks the shim of a pod to measure, and reads the measurement.

    The shims of many pods are asked before the first is waited for, and all of these are waited for until the same
    time. A shim that does not answer until then is busy, and one that does not run is not waited for: an earlier
    measurement is used.
    """

    def __init__(self, directory: PodDirectory) -> None:
        self._directory = directory
        self._asked_at = 0.0
        self._deadline = 0.0
        """The monotonic time until which the shim is waited for."""
        self._processes: int | None = None
        self._storage: FsStats | None = None
        self._next_read_at = 0.0

    def prepare(self) -> None:
        """Ask the pod's shim to measure."""
        self._asked_at = time.time()
        self._deadline = time.monotonic() + (_WAIT_SECONDS if self._ask() else 0)

    def _ask(self) -> bool:
        """Ask the shim to measure; return whether it will."""
        return self._directory.request_usage()

    def containers(
        self, running: Sequence[RunningContainer], *, at: datetime, history: ReadyHistory | None
    ) -> list[ContainerStats]:
        """Return the usage of the containers that run and were measured in this run, within the last minute."""
        if abs(at.timestamp() - self._asked_at) > _OLDEST_SECONDS:
            return []  # a past time, for which no measurement can be waited for
        while True:
            usage, has_time = self._read(), time.monotonic() < self._deadline
            found = list(_stats(running, usage)) if usage else []
            is_answer = usage is not None and usage.at > self._asked_at - 1 and len(found) == len(running)
            if is_answer or not has_time:
                break
            time.sleep(_PAUSE_SECONDS)
        is_recent = usage is not None and abs(at.timestamp() - usage.at) <= _OLDEST_SECONDS
        if not usage or not is_recent:
            return []
        self._processes = _processes(usage)
        return found

    def process_count(self) -> int | None:
        """Return the number of processes of the containers, as of the last measurement."""
        return self._processes

    def _read(self) -> Measurement | None:
        try:
            return _DECODER.decode((self._directory.path / USAGE).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None

    def ephemeral_storage(self) -> FsStats | None:
        """Return the disk space of state, logs and emptyDir volumes; measured every ten seconds at most."""
        if time.monotonic() >= self._next_read_at:
            self._next_read_at = time.monotonic() + _STORAGE_SECONDS
            self._storage = self._measure_storage()
        return self._storage

    def _measure_storage(self) -> FsStats | None:
        path, now = self._directory.path, rfc3339(datetime.now(UTC))
        try:
            size, inodes = occupied(str(path))
            return msgspec.structs.replace(filesystem(path, time=now), used_bytes=size, inodes_used=inodes)
        except OSError:
            return None


def _processes(usage: Measurement) -> int | None:
    counts = [container.processes for container in usage.containers.values()]
    return None if None in counts else sum(count or 0 for count in counts)


def _stats(running: Sequence[RunningContainer], usage: Measurement) -> Iterator[ContainerStats]:
    at = rfc3339_micro(datetime.fromtimestamp(usage.at, UTC))
    for name, start_time, _ in running:
        used = usage.containers.get(name)
        if used and used.started[:19] == start_time[:19]:
            yield ContainerStats(
                name,
                start_time,
                CPUStats(at, used.rate, used.cpu * 1000),
                MemoryStats(at, used.memory, used.memory, used.memory),
            )
