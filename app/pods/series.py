"""Pods over time, for charts: how many there were and how well, what they requested, and how soon they were ready.

The problem: a chart of an hour has 60 points, and to count 50,000 pods by their health at one past time takes 50
ms. The chart must not take 3 seconds.

The rules:

1. The times of points are multiples of the step, so that the points of a later chart are the same. A count at a
   past time does not change any more and is kept in memory.
2. Counts are made from coarse to fine: the middle, the quarters, the eighths. Only the first may end after
   `_BUDGET`; the points that are missing come with the next reload. Up to some thousand pods a count is cheap, and
   none is missing.
3. Creations and deletions are counted in an index. The time to Ready is that of at most `_SAMPLE` pods.

See docs/decisions/0072-charts-from-the-record.md.
"""

import math
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Lock
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Select, and_, bindparam, case, cast, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute

from app.db.lists import encode_intervals, intervals
from app.db.models import Pod, PodStatus
from app.db.statement import Row, Statement
from app.pods.attention import Health, Moment, health
from app.pods.context import FleetContext
from app.pods.list_parts import Part, pods_in_parts
from app.pods.queries import ENDED

HEALTHS: tuple[Health, ...] = ("failing", "progressing", "healthy", "completed", "unknown")
_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400)
_MOST_POINTS = 60
_BUDGET = 0.1
"""Seconds in which past times are counted; one is counted in any case."""
_CHEAP = 0.01
"""Seconds of a count after which the next one is made in any case."""
_KEPT = 5000
_SETTLED = timedelta(minutes=1)
"""A count is kept if its time is so long ago."""
_SAMPLE = 1000
_SUMS = ("pods", "active", "cpu_millicores", "memory_bytes")


class Sample(NamedTuple):
    """The pods at a time: their number by health, and the number and the requests of those that have not ended."""

    pods: dict[Health, int]
    active: int
    cpu_millicores: int
    memory_bytes: int


class Interval(NamedTuple):
    """Creations, deletions and times to Ready in an interval that ends at a time.

    Attributes:
        ready_p50: the median of the seconds from the creation of a pod in the interval until it was ready.
        ready_p99: their 99th percentile; both are None if no such pod has been ready.
    """

    created: int
    deleted: int
    ready_p50: float | None
    ready_p99: float | None


class Point(NamedTuple):
    """A time of a chart; the sample is None while it has not been counted."""

    time: datetime
    sample: Sample | None
    interval: Interval


class Series(NamedTuple):
    """The points of charts, and the distance between two of them."""

    points: list[Point]
    step: timedelta


def _count_in(column: InstrumentedAttribute[Any]) -> Statement:
    """Return the statement that counts the pods with a time in each of several intervals."""

    def select_counts(dialect: str) -> Select[Any]:
        start, end = intervals("intervals", dialect).subquery().c
        pods = select(func.count()).where(Pod.fleet == bindparam("fleet"), column > start, column <= end)
        return select(end.label("end"), pods.scalar_subquery().label("pods"))

    return Statement(select_counts)


_COUNT_CREATED, _COUNT_DELETED = _count_in(Pod.created_at), _count_in(Pod.deleted_at)
_CREATED = (
    Pod.fleet == bindparam("fleet"), Pod.created_at > bindparam("start"), Pod.created_at <= bindparam("end")
)  # fmt: skip
_COUNT_SAMPLED = Statement(select(func.count().label("pods")).where(*_CREATED))
_IS_READY = and_(PodStatus.phase == "Running", PodStatus.ready_containers >= PodStatus.containers)
_SELECT_READY = Statement(
    select(
        Pod.created_at,
        select(func.min(PodStatus.effective_at))
        .where(PodStatus.pod_id == Pod.id, PodStatus.effective_at >= Pod.created_at, _IS_READY)
        .correlate(Pod)
        .scalar_subquery()
        .label("ready_at"),
    ).where(*_CREATED, Pod.id % bindparam("every") == 0)
)


class PodSeries:
    """Counts the pods of a node over time. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet
        self._kept: OrderedDict[datetime, Sample] = OrderedDict()
        self._lock = Lock()

    def by_namespace(self, at: datetime | None = None) -> Sequence[Row]:
        """Count the pods at a time by `namespace` and `health`; at present where None.

        Returns:
            Rows with `pods`, and of those that have not ended the number and the requests: `active`,
            `cpu_millicores` and `memory_bytes`.
        """
        self._fleet.timelines.publish_due()
        return self._count(at, "namespace")

    def largest_nodes(self, at: datetime | None = None, *, limit: int) -> Sequence[Row]:
        """Return the nodes with the most pods that have not ended at a time; at present where it is None.

        Returns:
            Rows of `node_name`, `pods`, `cpu_millicores`, `memory_bytes`.
        """
        self._fleet.timelines.publish_due()
        parts = pods_in_parts(self._fleet.name, at, now=self._fleet.clock())
        counted = union_all(*map(_counts_of_nodes, parts)).subquery().c
        pods, *requests = (
            cast(func.sum(counted[name]), BigInteger).label(name)
            for name in ("pods", "cpu_millicores", "memory_bytes")
        )
        query = select(counted.node_name, pods, *requests).group_by(counted.node_name)
        with self._fleet.database.read() as connection:
            return connection.execute(query.order_by(pods.desc(), counted.node_name).limit(limit)).all()

    def between(self, start: datetime, end: datetime, *, last: Sample) -> Series:
        """Return the points from one time to another, of which the last is at the end.

        Args:
            last: the sample at the end.
        """
        self._fleet.timelines.publish_due()
        step = _step(end - start)
        times = list(_times(start, end, step))
        samples = {**self._samples(times[:-1]), end: last}
        with self._fleet.database.read() as connection:
            key = {"fleet": self._fleet.name, "intervals": encode_intervals(pairwise([start, *times]))}
            created, deleted = (
                {row.end: row.pods for row in statement.all(connection, **key)}
                for statement in (_COUNT_CREATED, _COUNT_DELETED)
            )
        ready = self._ready(start, times)
        points = []
        for moment in times:
            seconds = sorted(ready.get(moment, ()))
            points.append(
                Point(
                    moment,
                    samples.get(moment),
                    Interval(
                        created[moment], deleted[moment], _percentile(seconds, 0.5), _percentile(seconds, 0.99)
                    ),
                )
            )
        return Series(points, step)

    def _samples(self, times: list[datetime]) -> dict[datetime, Sample]:
        """Return the samples that are kept, and further ones from coarse to fine as far as there is time."""
        with self._lock:
            found = {moment: self._kept[moment] for moment in times if moment in self._kept}
        until, took = time.monotonic() + _BUDGET, 0.0
        for moment in _coarse_to_fine(times):
            if moment in found:
                continue
            began = time.monotonic()
            if took >= _CHEAP and began + took >= until:
                break
            found[moment] = sample_of(self._count(moment))
            took = time.monotonic() - began
            if moment <= self._fleet.clock() - _SETTLED:
                self._keep(moment, found[moment])
        return found

    def _keep(self, moment: datetime, sample: Sample) -> None:
        with self._lock:
            self._kept[moment] = sample
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _count(self, at: datetime | None, *groups: str) -> Sequence[Row]:
        """Count the pods at a time by health, and by other columns."""
        now = self._fleet.clock()
        counts = [_counts(part, Moment.of(at or now)) for part in pods_in_parts(self._fleet.name, at, now=now)]
        counted = union_all(*counts).subquery().c
        by = [counted[name] for name in (*groups, "health")]
        sums = [cast(func.sum(counted[name]), BigInteger).label(name) for name in _SUMS]
        with self._fleet.database.read() as connection:
            return connection.execute(select(*by, *sums).group_by(*by)).all()

    def _ready(self, start: datetime, times: Sequence[datetime]) -> dict[datetime, list[float]]:
        """Return the seconds until pods were ready, by the end of the interval in which they were created."""
        key = {"fleet": self._fleet.name, "start": start, "end": times[-1]}
        found: dict[datetime, list[float]] = {}
        with self._fleet.database.read() as connection:
            count = _COUNT_SAMPLED.one(connection, **key).pods
            for row in _SELECT_READY.all(connection, every=max(1, math.ceil(count / _SAMPLE)), **key):
                if row.ready_at and row.ready_at <= times[-1]:
                    end = times[bisect_left(times, row.created_at)]
                    found.setdefault(end, []).append((row.ready_at - row.created_at).total_seconds())
        return found


def _counts(part: Part, moment: Moment) -> Select[Any]:
    """Return the query that counts pods by namespace and health, in many groups."""
    is_active = part.source.phase.not_in(ENDED)  # the same for all pods of a group
    of: Any = part.source
    counts = {
        "active": func.count(),
        "cpu_millicores": func.sum(of.cpu_millicores),
        "memory_bytes": func.sum(of.memory_bytes),
    }
    return part.select(
        Pod.namespace,
        health(part.source, moment).label("health"),
        func.count().label("pods"),
        *(func.coalesce(case((is_active, count)), 0).label(name) for name, count in counts.items()),
    ).group_by(*part.health_groups)


def _counts_of_nodes(part: Part) -> Select[Any]:
    """Return the query that counts the pods of each node that have not ended."""
    # SQLite would follow an index of the plain column, and read the row of each pod.
    name = func.coalesce(Pod.node_name, Pod.node_name)
    sums = (
        func.coalesce(func.sum(column), 0).label(column.key)
        for column in (part.source.cpu_millicores, part.source.memory_bytes)
    )
    counts = part.select(name.label("node_name"), func.count().label("pods"), *sums)
    return counts.where(part.source.phase.not_in(ENDED)).group_by(name)


def sample_of(rows: Sequence[Row]) -> Sample:
    """Add up rows with a health, a number of pods, and requests."""
    pods = dict.fromkeys(HEALTHS, 0)
    for row in rows:
        pods[row.health] += row.pods
    active, cpu, memory = (
        int(sum(getattr(row, name) for row in rows)) for name in ("active", "cpu_millicores", "memory_bytes")
    )
    return Sample(pods, active, cpu, memory)


def _step(span: timedelta) -> timedelta:
    """Return the least step of which a span has at most 60."""
    seconds = next((step for step in _STEPS if span.total_seconds() <= step * _MOST_POINTS), None)
    return timedelta(seconds=seconds or math.ceil(span.total_seconds() / _MOST_POINTS))


def _times(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    """Yield the multiples of the step between two times, then the end."""
    seconds = int(step.total_seconds())
    moment = (_bucket(start, step) + 1) * seconds
    while moment < end.timestamp():
        yield datetime.fromtimestamp(moment, UTC)
        moment += seconds
    yield end


def _bucket(moment: datetime, step: timedelta) -> int:
    return int(moment.timestamp() // step.total_seconds())


def _coarse_to_fine(times: list[datetime]) -> Iterator[datetime]:
    """Yield the first of all times, then those between, each time at half of the distance."""
    stride = 1 << max(len(times) - 1, 0).bit_length()
    yield from times[:1]
    while stride > 1:
        yield from times[stride // 2 :: stride]
        stride //= 2


def _percentile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted values; None without any."""
    return values[max(math.ceil(share * len(values)) - 1, 0)] if values else None
