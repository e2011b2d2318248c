"""The usage of this machine and of its disk, as a kubelet measures them.

Memory that is available is what the kernel estimates, with caches that it can drop.

Source of the files: proc(5).
"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from app.core.errors import Unavailable
from app.core.timestamps import rfc3339, rfc3339_micro
from app.kubernetes.stats import CPUStats, FsStats, NodeMemoryStats, NodeStats, RlimitStats

_PROC = Path("/proc")
_TICK_NANOSECONDS = 10**9 // os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6)
"""The fields of the line `cpu` in `stat` in which a processor works: user, nice, system, irq and softirq."""
_WINDOW_NANOSECONDS = 10 * 10**9
"""The shortest time over which the current CPU usage is an average, but for the first."""


class _Sample(NamedTuple):
    """The CPU time of the machine since its boot, at a monotonic time, in nanoseconds."""

    at: int
    cpu: int


class Machine:
    """Measures this machine.

    Args:
        directory: a directory on the file system that is measured.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._samples = (_sample(_proc_stat()),) * 2
        """The starts of the last two windows."""

    def usage(self, node_name: str) -> NodeStats:
        """Return the usage of the machine; its current CPU usage is an average since an earlier measurement.

        Raises:
            Unavailable: a file cannot be read.
        """
        try:
            return self._usage(node_name)
        except OSError as exc:
            raise Unavailable(f"{exc.filename}: {exc.strerror}") from exc

    def _usage(self, node_name: str) -> NodeStats:
        stat, memory = _proc_stat(), _memory()
        now = datetime.now(UTC)
        at, sample = rfc3339_micro(now), _sample(stat)
        return NodeStats(
            node_name=node_name,
            start_time=rfc3339(datetime.fromtimestamp(int(stat["btime"][0]), UTC)),
            cpu=CPUStats(at, self._rate(sample), sample.cpu),
            memory=NodeMemoryStats(
                time=at,
                working_set_bytes=memory["MemTotal"] - memory["MemAvailable"],
                rss_bytes=memory["AnonPages"],
                usage_bytes=memory["MemTotal"] - memory["MemFree"],
                available_bytes=memory["MemAvailable"],
            ),
            fs=filesystem(self._directory, time=at),
            rlimit=RlimitStats(at, _task_limit(), int(_read("loadavg").split()[3].partition("/")[2])),
        )

    def _rate(self, sample: _Sample) -> int:
        """Return the current CPU usage, in billionths of a core."""
        before, last = self._samples
        if sample.at - last.at >= _WINDOW_NANOSECONDS:
            before = last
            self._samples = last, sample
        return max(0, sample.cpu - before.cpu) * 10**9 // max(1, sample.at - before.at)


def filesystem(directory: Path, *, time: str) -> FsStats:
    """Return the usage of the file system of a directory.

    Raises:
        OSError: it cannot be read.
    """
    disk = os.statvfs(directory)
    return FsStats(
        time=time,
        available_bytes=disk.f_bavail * disk.f_frsize,
        capacity_bytes=disk.f_blocks * disk.f_frsize,
        used_bytes=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        inodes_free=disk.f_ffree,
        inodes=disk.f_files,
        inodes_used=disk.f_files - disk.f_ffree,
    )


def _sample(stat: dict[str, list[str]]) -> _Sample:
    cpu = sum(int(stat["cpu"][field]) for field in _BUSY) * _TICK_NANOSECONDS
    return _Sample(time.monotonic_ns(), cpu)


def _proc_stat() -> dict[str, list[str]]:
    """Return the fields of each line of `stat` by its name."""
    return {name: fields for name, *fields in map(str.split, _read("stat").splitlines())}


def _memory() -> dict[str, int]:
    """Return the values of `meminfo` in bytes."""
    lines = (line.split() for line in _read("meminfo").splitlines())
    return {name.rstrip(":"): int(value) * 1024 for name, value, *_ in lines}


def _task_limit() -> int:
    return min(int(_read(f"sys/kernel/{name}")) for name in ("pid_max", "threads-max"))


def _read(name: str) -> str:
    return (_PROC / name).read_text()
