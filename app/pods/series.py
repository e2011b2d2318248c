"""Pods over time, for charts: how many there were and how well, what they requested, and how soon they were ready.

The rules:

1. The times of points are multiples of the step, so that the points of a later chart are the same. The pods at
   these times are counted once: see `app.pods.samples`.
2. Creations and deletions are counted in an index. The time to Ready is that of at most `_SAMPLE` pods.

See docs/decisions/0072-charts-from-the-record.md.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Select, and_, bindparam, case, cast, func, null, select, union_all
from sqlalchemy.orm import InstrumentedAttribute

from app.core.quantity import percentile
from app.db.lists import encode_intervals, intervals
from app.db.models import Pod, PodStatus
from app.db.statement import Row, Statement
from app.pods.attention import health
from app.pods.context import FleetContext
from app.pods.list_parts import Part, pods_in_parts
from app.pods.queries import ENDED
from app.pods.samples import KeptSamples, Sample, sample_of

_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400)
_MOST_POINTS = 60
_SAMPLE = 1000
_SUMS = ("pods", "active", "cpu_millicores", "memory_bytes")


class Churn(NamedTuple):
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
    interval: Churn


class Series(NamedTuple):
    """The points of charts, and the distance between two of them."""

    points: list[Point]
    step: timedelta

    @property
    def is_complete(self) -> bool:
        """Whether the pods have been counted at every point."""
        return all(point.sample for point in self.points)


class PodCounts(NamedTuple):
    """The pods at a time.

    Attributes:
        namespaces: rows of `namespace`, `health`, `pods`, and of those that have not ended the number and the
            requests: `active`, `cpu_millicores`, `memory_bytes`.
        nodes: the nodes with the most pods that have not ended: rows of `node_name` and the same numbers.
    """

    namespaces: Sequence[Row]
    nodes: Sequence[Row]

    @property
    def sample(self) -> Sample:
        """The pods of all namespaces."""
        return sample_of(self.namespaces)


def _count_in(column: InstrumentedAttribute[Any]) -> Statement:
    """Return the statement that counts the pods with a time in each of several intervals."""

    def select_counts(dialect: str) -> Select[Any]:
        start, end = intervals("intervals", dialect).subquery().c
        pods = select(func.count()).where(Pod.fleet == bindparam("fleet"), column > start, column <= end)
        return select(end.label("end"), pods.scalar_subquery().label("pods"))

    return Statement(select_counts)


_COUNT_CREATED, _COUNT_DELETED = _count_in(Pod.created_at), _count_in(Pod.deleted_at)
_IS_READY = and_(PodStatus.phase == "Running", PodStatus.ready_containers >= PodStatus.containers)
_SELECT_READY = Statement(
    select(
        Pod.created_at,
        select(func.min(PodStatus.effective_at))
        .where(PodStatus.pod_id == Pod.id, PodStatus.effective_at >= Pod.created_at, _IS_READY)
        .correlate(Pod)
        .scalar_subquery()
        .label("ready_at"),
    ).where(
        Pod.fleet == bindparam("fleet"),
        Pod.created_at > bindparam("start"),
        Pod.created_at <= bindparam("end"),
        Pod.id % bindparam("every") == 0,
    )
)


class PodSeries:
    """Counts the pods of a fleet over time. Every method may raise `DatabaseUnavailable`.

    Attributes:
        samples: the pods at past times.
    """

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet
        self.samples = KeptSamples(lambda at: sample_of(self._count(at)), clock=fleet.clock)

    def counts(self, at: datetime | None = None, *, nodes: int = 0) -> PodCounts:
        """Count the pods at a time; at present where it is None.

        Args:
            nodes: the number of nodes to return; 0 for none.
        """
        self._fleet.timelines.publish_due()
        rows = self._count(at, by_namespace=True, nodes=nodes)
        return PodCounts(
            namespaces=[row for row in rows if row.namespace is not None],
            nodes=[row for row in rows if row.node_name is not None],
        )

    def between(self, start: datetime, end: datetime, *, last: Sample) -> Series:
        """Return the points from one time to another, of which the last is at the end.

        Args:
            last: the sample at the end.
        """
        self._fleet.timelines.publish_due()
        step = _step(end - start)
        times = list(_times(start, end, step))
        samples = {**self.samples.at(times[:-1], pods=sum(last.pods.values())), end: last}
        with self._fleet.database.read() as connection:
            key = {"fleet": self._fleet.name, "intervals": encode_intervals(pairwise([start, *times]))}
            created, deleted = (
                {row.end: row.pods for row in statement.all(connection, **key)}
                for statement in (_COUNT_CREATED, _COUNT_DELETED)
            )
        ready = self._ready(start, times, created=sum(created.values()))
        points = []
        for time in times:
            seconds = ready.get(time, [])
            points.append(
                Point(
                    time,
                    samples.get(time),
                    Churn(created[time], deleted[time], percentile(seconds, 0.5), percentile(seconds, 0.99)),
                )
            )
        return Series(points, step)

    def _count(self, at: datetime | None, *, by_namespace: bool = False, nodes: int = 0) -> Sequence[Row]:
        """Count the pods at a time by health, or by namespace and health, and by node: one row for each.

        One statement reads the pods once. It counts them in many groups first, which SQLite keeps.
        """
        now = self._fleet.clock()
        parts = pods_in_parts(self._fleet.name, at, now=now)
        of_groups = union_all(*(_counts(part, at or now, by_node=nodes > 0) for part in parts))
        counted = of_groups.cte("counted").prefix_with("MATERIALIZED").c
        sums = [cast(func.sum(counted[name]), BigInteger).label(name) for name in _SUMS]
        namespace = counted.namespace if by_namespace else null()
        by_health = select(namespace.label("namespace"), null().label("node_name"), counted.health, *sums)
        query: Any = by_health.group_by(*([counted.namespace] if by_namespace else []), counted.health)
        if nodes:
            largest = select(null(), counted.node_name, null(), *sums).where(counted.active > 0)
            largest = largest.group_by(counted.node_name).order_by(sums[1].desc(), counted.node_name).limit(nodes)
            query = union_all(query, select(largest.subquery()))
        with self._fleet.database.read() as connection:
            return connection.execute(query).all()

    def _ready(self, start: datetime, times: Sequence[datetime], *, created: int) -> dict[datetime, list[float]]:
        """Return the seconds until pods were ready, by the end of the interval in which they were created."""
        every = max(1, math.ceil(created / _SAMPLE))
        key = {"fleet": self._fleet.name, "start": start, "end": times[-1], "every": every}
        found: dict[datetime, list[float]] = {}
        with self._fleet.database.read() as connection:
            for row in _SELECT_READY.all(connection, **key):
                if row.ready_at and row.ready_at <= times[-1]:
                    end = times[bisect_left(times, row.created_at)]
                    found.setdefault(end, []).append((row.ready_at - row.created_at).total_seconds())
        return found


def _counts(part: Part, at: datetime, *, by_node: bool) -> Select[Any]:
    """Return the query that counts pods by namespace, health and node, in many groups."""
    is_active = part.source.phase.not_in(ENDED)  # the same for all pods of a group
    of: Any = part.source
    counts = {
        "active": func.count(),
        "cpu_millicores": func.sum(of.cpu_millicores),
        "memory_bytes": func.sum(of.memory_bytes),
    }
    node = [Pod.node_name] if by_node else []
    return part.select(
        Pod.namespace,
        *node,
        health(part.source, at).label("health"),
        func.count().label("pods"),
        *(func.coalesce(case((is_active, count)), 0).label(name) for name, count in counts.items()),
    ).group_by(*part.health_groups, *node)


def _step(span: timedelta) -> timedelta:
    """Return the least step of which a span has at most 60."""
    seconds = next((step for step in _STEPS if span.total_seconds() <= step * _MOST_POINTS), None)
    return timedelta(seconds=seconds or math.ceil(span.total_seconds() / _MOST_POINTS))


def _times(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    """Yield the multiples of the step between two times, then the end."""
    seconds = int(step.total_seconds())
    timestamp = (_bucket(start, step) + 1) * seconds
    while timestamp < end.timestamp():
        yield datetime.fromtimestamp(timestamp, UTC)
        timestamp += seconds
    yield end


def _bucket(time: datetime, step: timedelta) -> int:
    return int(time.timestamp() // step.total_seconds())
