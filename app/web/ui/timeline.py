"""The timeline of a pod as the dashboard draws it: a lane for the pod and one a container, a block a status.

The statuses of one pod last from milliseconds to months. The width of a block therefore grows with the logarithm
of its duration, and no block is narrower than 4 %.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from app.kubernetes.printer import PodColumns
from app.pods.explain import StatusInterval

MAX_BLOCKS = 16
MAX_SCHEDULED = 6
"""The most blocks of scheduled statuses, where the others are not enough room for all."""
_MIN_WIDTH = 4.0
"""The least width of a block, in percent of the lane."""

_TICK_WIDTH = 14.0
"""The least distance of two times on the axis, in percent of the lane."""
_LAST_TICK = 90.0
_LONGEST_PERIOD = 4

When = Literal["past", "now", "next"]


class Block(NamedTuple):
    """A status of the pod, or of one of its containers, as a rectangle in a lane.

    Attributes:
        x: the left edge, in percent of the lane.
        width: in percent of the lane.
        state: the phase of the pod, or the state of the container; it selects the colour.
    """

    x: float
    width: float
    state: str
    label: str
    when: When


class Lane(NamedTuple):
    """The statuses of the pod, or of one of its containers, in order of time."""

    name: str
    blocks: list[Block]


class TimelineEntry(NamedTuple):
    """A status in the timeline, with a description of its changes.

    Attributes:
        until: when the status ends; None where no end is known.
        changes: the differences from the status before, a phrase each.
        columns: the columns of `kubectl get pods` for this status.
    """

    since: datetime
    until: datetime | None
    when: When
    status: dict[str, Any]
    changes: list[str]
    columns: PodColumns

    @property
    def reason(self) -> str | None:
        """The status that `kubectl get pods` shows in place of the phase; None where it shows the phase."""
        return self.columns.reason(str(self.status.get("phase")))


def timeline_entries(
    intervals: Sequence[StatusInterval], *, at: datetime, deleted_at: datetime | None
) -> list[TimelineEntry]:
    """Return the statuses of a pod in order, each marked as past, current or scheduled at a time."""
    entries: list[TimelineEntry] = []
    before: dict[str, Any] = {}
    for interval in intervals:
        since, end, status = interval.since, interval.until, interval.status
        until = end or (deleted_at if deleted_at and deleted_at > since else None)
        when: When = "next" if since > at else "past" if until and until <= at else "now"
        columns = interval.columns(at if when == "now" else None)
        entries.append(TimelineEntry(since, until, when, status, list(changes(before, status)), columns))
        before = status
    return entries


def lanes(entries: Sequence[TimelineEntry], *, at: datetime) -> list[Lane]:
    """Return the lanes of the pod and of its containers, of at most `MAX_BLOCKS` blocks each.

    Where there are more statuses, the latest that have begun are drawn, and up to `MAX_SCHEDULED` scheduled ones.
    """
    drawn = _drawn(entries)
    durations = [((entry.until or max(at, entry.since)) - entry.since).total_seconds() for entry in drawn]
    lanes = {"": Lane("pod", [])}
    for entry, (x, width) in zip(drawn, _positions(durations), strict=True):
        phase = str(entry.status.get("phase"))
        state = "degraded" if phase == "Running" and entry.reason else phase
        lanes[""].blocks.append(Block(x, width, state, entry.reason or phase, entry.when))
        for container in container_statuses(entry.status):
            name = str(container.get("name"))
            state, label = container_state(container)
            lanes.setdefault(name, Lane(name, [])).blocks.append(Block(x, width, state, label, entry.when))
    return list(lanes.values())


class Tick(NamedTuple):
    """A time on the axis below the lanes.

    Attributes:
        x: the place, in percent of the lane.
        label: the time, with milliseconds where those of its neighbours are in the same second.
    """

    x: float
    label: str


def axis(entries: Sequence[TimelineEntry], lane: Lane) -> list[Tick]:
    """Return the times at which blocks of a lane begin, as far apart as their labels need."""
    found: list[tuple[float, str]] = []
    for entry, block in zip(_drawn(entries), lane.blocks, strict=True):
        time = entry.since.strftime("%H:%M:%S.%f")[:-3]
        if block.x <= _LAST_TICK and (
            not found or (block.x - found[-1][0] >= _TICK_WIDTH and time != found[-1][1])
        ):
            found.append((block.x, time))
    seconds = Counter(time[:8] for _, time in found)
    return [Tick(x, time if seconds[time[:8]] > 1 else time[:8]) for x, time in found]


class Fold(NamedTuple):
    """Statuses that came in the same order several times; the entries are those of the last time.

    Attributes:
        times: how often they came.
        since: when they came first.
    """

    entries: Sequence[TimelineEntry]
    times: int
    since: datetime


def fold(entries: Sequence[TimelineEntry]) -> list[Fold]:
    """Fold repetitions of up to four past statuses, such as the runs of a container that crashes again and again.

    Statuses are alike if `kubectl get pods` shows the same STATUS and READY.
    """
    found: list[Fold] = []
    labels = [(entry.when == "past", entry.columns.status, entry.columns.ready) for entry in entries]
    begin = 0
    while begin < len(entries):
        period, times = 1, 1
        for candidate in range(1, _LONGEST_PERIOD + 1):
            repeated = 1
            cycle = labels[begin : begin + candidate]
            while labels[begin : begin + candidate * (repeated + 1)] == cycle * (repeated + 1):
                repeated += 1
            if repeated > 1 and all(is_past for is_past, *_ in cycle) and candidate * repeated > period * times:
                period, times = candidate, repeated
        end = begin + period * times
        found.append(Fold(entries[end - period : end], times, entries[begin].since))
        begin = end
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield a phrase for each difference between two statuses, in phase, containers and conditions.

    >>> list(changes({"phase": "Pending"}, {"phase": "Running"}))
    ['phase Pending → Running']
    """
    if before and before.get("phase") != after.get("phase"):
        yield f"phase {before.get('phase')} → {after.get('phase')}"
    known = {container.get("name"): container for container in container_statuses(before)}
    for container in container_statuses(after):
        name = container.get("name")
        was = known.get(name)
        labels = [container_state(one)[1] for one in (was, container) if one is not None]
        count = int(container.get("restartCount") or 0)
        if was is None or labels[0] != labels[-1]:
            yield f"{name}: {' → '.join(labels)}"
        if was is not None and count > int(was.get("restartCount") or 0):
            yield f"{name}: restart {count}"
    conditions = {condition.get("type"): condition.get("status") for condition in before.get("conditions") or ()}
    for condition in after.get("conditions") or ():
        if before and conditions.get(condition.get("type")) != condition.get("status"):
            yield f"{condition.get('type')} is {condition.get('status')}"


def _drawn(entries: Sequence[TimelineEntry]) -> Sequence[TimelineEntry]:
    begun = sum(entry.when != "next" for entry in entries)
    end = max(MAX_BLOCKS, begun + MAX_SCHEDULED)
    return entries[:end][-MAX_BLOCKS:]


def _positions(seconds: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Divide 100 % among durations: yield the left edge and the width of each."""
    weights = [math.log10(1.2 + max(duration, 0)) for duration in seconds]
    rest = 100 - _MIN_WIDTH * len(weights)
    x = 0.0
    for weight in weights:
        width = _MIN_WIDTH + rest * weight / sum(weights)
        yield round(x, 3), round(width, 3)
        x += width


def container_state(container: dict[str, Any]) -> tuple[str, str]:
    """Return the state of a container, which selects the colour, and its label."""
    state = container.get("state") or {}
    if waiting := state.get("waiting"):
        return "waiting", str(waiting.get("reason") or "waiting")
    if terminated := state.get("terminated"):
        code = terminated.get("exitCode")
        return ("failed" if code else "completed"), f"{terminated.get('reason') or 'ended'} ({code})"
    if state.get("running"):
        return ("ready", "running, ready") if container.get("ready") else ("running", "running, not ready")
    return "waiting", "unknown"


def container_statuses(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statuses of all containers, of every kind."""
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return [container for kind in kinds for container in status.get(kind) or ()]
