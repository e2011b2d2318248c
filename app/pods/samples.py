"""Counts of the pods at past times: each is made once, and kept in memory.

The problem: a chart of an hour has 60 points, and to count 50,000 pods by their health at one past time takes 70
ms. A page must not take 4 seconds.

The rules:

1. A count at a past time does not change any more, so it is kept. One that was made within a minute of its time
   may lack the write of a process whose clock is behind: it is shown, and made again later.
2. Few pods are counted when a chart needs it. Many are counted by a thread, the latest time first. The page shows
   the points that are known by then, which have no gap among them; its next reload shows more.

See docs/decisions/0072-charts-from-the-record.md.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Lock, Thread
from typing import NamedTuple

from app.core.clock import Clock
from app.core.errors import DatabaseUnavailable
from app.db.statement import Row
from app.pods.attention import Health

HEALTHS: tuple[Health, ...] = ("failing", "progressing", "healthy", "completed", "unknown")
_FEW = 5000
"""So many pods are counted in less than 10 ms."""
_SETTLED = timedelta(minutes=1)
_KEPT = 5000


class Sample(NamedTuple):
    """The pods at a time: their number by health, and the number and the requests of those that have not ended."""

    pods: dict[Health, int]
    active: int
    cpu_millicores: int
    memory_bytes: int


class _Kept(NamedTuple):
    """A sample, and whether it may change."""

    sample: Sample
    is_settled: bool


class KeptSamples:
    """The samples of past times.

    Args:
        count: returns the sample of a time. It may raise `DatabaseUnavailable`.
    """

    def __init__(self, count: Callable[[datetime], Sample], *, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._kept: OrderedDict[datetime, _Kept] = OrderedDict()
        self._wanted: list[datetime] = []
        self._thread: Thread | None = None
        self._lock = Lock()

    def at(self, times: Sequence[datetime], *, pods: int) -> dict[datetime, Sample]:
        """Return the samples of past times: all of them where there are few pods, else those that are known.

        Args:
            times: in order.
            pods: the number of pods at about these times.

        Raises:
            DatabaseUnavailable: as `count`.
        """
        settled_until = self._clock() - _SETTLED
        with self._lock:
            found = {time: self._kept[time] for time in times if time in self._kept}
        missing = [
            time for time in times if time not in found or (not found[time].is_settled and time <= settled_until)
        ]
        if pods <= _FEW:
            found |= {time: self._make(time) for time in missing}
        elif missing:
            self._make_later(missing)
        return {time: kept.sample for time, kept in found.items()}

    def wait(self) -> None:
        """Wait until the samples of the last chart are counted."""
        if thread := self._thread:
            thread.join()

    def _make(self, time: datetime) -> _Kept:
        is_settled = time <= self._clock() - _SETTLED
        kept = _Kept(self._count(time), is_settled)
        with self._lock:
            self._kept[time] = kept
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept

    def _make_later(self, times: list[datetime]) -> None:
        """Count at these times in a thread, in place of those of an earlier chart."""
        with self._lock:
            self._wanted = times
            if not (self._thread and self._thread.is_alive()):
                self._thread = Thread(target=self._make_wanted, daemon=True, name="samples")
                self._thread.start()

    def _make_wanted(self) -> None:
        while time := self._next():
            try:
                self._make(time)
            except DatabaseUnavailable:
                self._wanted = []  # the next chart asks again

    def _next(self) -> datetime | None:
        with self._lock:
            if not self._wanted:
                self._thread = None
                return None
            return self._wanted.pop()


def sample_of(rows: Sequence[Row]) -> Sample:
    """Add up rows with a health, a number of pods, and requests."""
    pods = dict.fromkeys(HEALTHS, 0)
    for row in rows:
        pods[row.health] += row.pods
    active, cpu, memory = (
        int(sum(getattr(row, name) for row in rows)) for name in ("active", "cpu_millicores", "memory_bytes")
    )
    return Sample(pods, active, cpu, memory)
