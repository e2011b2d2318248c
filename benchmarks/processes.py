"""CPU time and memory of processes, with their children."""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET_PERCENT = 5.0
_QUIET_SECONDS = 0.5
_BUSY_SECONDS = 60.0


@dataclass(frozen=True)
class Process:
    """A process with its children, such as gunicorn with its workers."""

    label: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time of all these processes so far."""
        return sum(map(cpu_seconds, self._tree()))

    def memory_bytes(self) -> int:
        """Return the memory (Pss) of all these processes."""
        return sum(map(memory_bytes, self._tree()))

    def _tree(self) -> list[int]:
        tree = [self.pid]
        for pid in tree:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                tree += map(int, task.read_text().split())
        return tree


class Meter:
    """CPU time of processes since the meter was created."""

    def __init__(self, processes: list[Process]) -> None:
        self._began = time.monotonic()
        self._before = {process: process.cpu_seconds() for process in processes}

    def seconds(self) -> dict[str, float]:
        """Return the CPU time of each process, by label."""
        return {process.label: process.cpu_seconds() - before for process, before in self._before.items()}

    def percent(self) -> dict[str, float]:
        """Return the CPU time of each process as a percentage of one CPU, by label."""
        passed = time.monotonic() - self._began
        return {label: 100 * seconds / passed for label, seconds in self.seconds().items()}


async def until_quiet(processes: list[Process], *, idle: float = 0.0) -> None:
    """Wait until the processes use little CPU: until they have done what they postpone, such as events.

    Args:
        processes: the processes.
        idle: percentage of one CPU that they use all the time, such as for leases.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while time.monotonic() < deadline:
        meter = Meter(processes)
        await asyncio.sleep(_QUIET_SECONDS)
        if sum(meter.percent().values()) < idle + _QUIET_PERCENT:
            return


def memory_bytes(pid: int) -> int:
    """Return the memory (Pss) of one process; 0 if it has exited."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return 0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of one process so far; 0 if it has exited."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0
