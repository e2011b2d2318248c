"""The usage of a pod of processes: what its shim measures."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from app.core.timestamps import rfc3339
from app.kubernetes.stats import ContainerStats, CPUStats, FsStats, MemoryStats
from app.kubernetes.status import PodStatus
from app.runtimes.process.machine import filesystem, occupied
from app.runtimes.process.pod_dir import PodDirectory
from app.runtimes.process.shim.record import USAGE
from app.runtimes.usage import PodUsage, ReadyHistory

_OLDEST_SECONDS = 60
"""The longest time between a measurement and the time for which it is reported.

An older one was made before a time at which nobody asked, and a rate since then would be an average.
"""

_STORAGE_SECONDS = 10


class _Container(msgspec.Struct, frozen=True):
    """A container in `usage.json`: CPU time in microseconds, current CPU in billionths of a core, bytes."""

    started: str
    cpu: int
    rate: int
    memory: int


class _Usage(msgspec.Struct, frozen=True):
    """The content of `usage.json`; `at` is in seconds since 1970."""

    at: int
    containers: dict[str, _Container]


_DECODER = msgspec.json.Decoder(_Usage)


class ProcessUsage(PodUsage):
    """Reads the last measurement of the pod's shim, and asks for the next one.

    A request is answered by the one after it, so no request waits for a shim.
    """

    def __init__(self, directory: PodDirectory) -> None:
        self._directory = directory
        self._storage: FsStats | None = None
        self._next_look = 0.0

    def containers(self, status: PodStatus, *, at: datetime, history: ReadyHistory | None) -> list[ContainerStats]:
        """Return the usage of the containers that run and were measured in this run, within the last minute."""
        self._directory.request_usage()
        try:
            usage = _DECODER.decode((self._directory.path / USAGE).read_bytes())
        except (OSError, msgspec.DecodeError):
            return []
        measured_at = datetime.fromtimestamp(usage.at, UTC)
        if abs((at - measured_at).total_seconds()) > _OLDEST_SECONDS:
            return []
        return list(_stats(status, usage.containers, time=rfc3339(measured_at)))

    def ephemeral_storage(self) -> FsStats | None:
        """Return the disk space of the pod's directory, state and logs; measured every ten seconds at most."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _STORAGE_SECONDS
            self._storage = self._measure_storage()
        return self._storage

    def _measure_storage(self) -> FsStats | None:
        path, now = self._directory.path, rfc3339(datetime.now(UTC))
        try:
            size, inodes = occupied(path)
            return msgspec.structs.replace(filesystem(path, time=now), used_bytes=size, inodes_used=inodes)
        except OSError:
            return None


def _stats(status: PodStatus, measured: dict[str, _Container], *, time: str) -> Iterator[ContainerStats]:
    for container in status.all_containers:
        running, usage = container.state.running, measured.get(container.name)
        if running and usage and usage.started[:19] == running.started_at[:19]:
            yield ContainerStats(
                container.name,
                running.started_at,
                CPUStats(time, usage.rate, usage.cpu * 1000),
                MemoryStats(time, usage.memory, usage.memory, usage.memory),
            )
