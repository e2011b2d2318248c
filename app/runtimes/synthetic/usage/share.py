"""The CPU time of a container that gets a part of a divided load.

A load is divided among the ready pods of one controller, so a pod's part changes whenever another becomes ready or
ends. The parts follow from the statuses on record: between two changes of their number each part is constant.

An example: a load of 2 cores, alone for 60 s and then with a second pod for 60 s: 120 + 60 = 180 core-seconds.
"""

from bisect import bisect_right
from datetime import datetime
from itertools import pairwise

from app.runtimes.synthetic.usage.container import ContainerUsage
from app.runtimes.usage import Interval, ReadyHistory


def share_at(usage: ContainerUsage, history: ReadyHistory, uid: str, at: datetime) -> float:
    """Return the part of the load that a pod gets at a time, in cores; 0 while it is not ready."""
    if not usage.cpu.share or not any(start <= at <= end for start, end in history.of(uid)):
        return 0.0
    index = max(bisect_right(history.times, at) - 1, 0)
    # At the end of the history, every pod that is ready now ends its interval.
    counts = history.counts[index] or history.counts[index - 1]
    return usage.cpu.share / max(counts, 1)


def shared_core_seconds(
    usage: ContainerUsage, history: ReadyHistory, uid: str, *, started_at: datetime, within: Interval
) -> float:
    """Return the CPU time of a container that started at a time, within a part of its run."""

    def seconds(time: datetime) -> float:
        return (time - started_at).total_seconds()

    total, since = 0.0, within.start
    for ready in history.of(uid):
        start, end = max(ready.start, since), min(ready.end, within.end)
        if start >= end:
            continue
        total += usage.core_seconds(seconds(since), seconds(start))
        total += _while_ready(usage, history, started_at, Interval(start, end))
        since = end
    return total + usage.core_seconds(seconds(since), seconds(within.end))


def _while_ready(usage: ContainerUsage, history: ReadyHistory, started_at: datetime, within: Interval) -> float:
    if usage.cpu.curve.is_constant:
        totals = _Totals.of(usage, history)
        return totals.until(within.end) - totals.until(within.start)
    first, last = (bisect_right(history.times, time) for time in within)
    times = [within.start, *history.times[first:last], within.end]
    return sum(
        usage.core_seconds(
            (start - started_at).total_seconds(),
            (end - started_at).total_seconds(),
            share=usage.cpu.share / max(history.counts[index], 1),
        )
        for index, (start, end) in enumerate(pairwise(times), first - 1)
        if start < end
    )


class _Totals:
    """The CPU time of a pod that is always ready and whose own usage is constant, for all pods with that usage."""

    def __init__(self, usage: ContainerUsage, history: ReadyHistory) -> None:
        self._times = history.times
        self._rates = [usage.cores(0, share=usage.cpu.share / max(count, 1)) for count in history.counts]
        self._totals = [0.0]
        for (start, end), rate in zip(pairwise(self._times), self._rates, strict=False):
            self._totals.append(self._totals[-1] + rate * (end - start).total_seconds())

    @classmethod
    def of(cls, usage: ContainerUsage, history: ReadyHistory) -> "_Totals":
        """Return the totals for a usage, computed once for each history."""
        key = (usage.cpu, usage.cpu_limit)
        if key not in history.memo:
            history.memo[key] = cls(usage, history)
        found: _Totals = history.memo[key]
        return found

    def until(self, time: datetime) -> float:
        index = bisect_right(self._times, time) - 1
        return self._totals[index] + self._rates[index] * (time - self._times[index]).total_seconds()
