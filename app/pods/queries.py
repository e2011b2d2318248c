"""The SQL for "pods at a time" and "status at a time", and the queries of the dashboard and the metrics.

A pod is one row of `pods`; each of its statuses is a row of `pod_statuses` with the time from which it holds. The
status at T is therefore the last row with `effective_at <= T`. Every read of the package selects it by
:func:`status_at`, and selects the pods that existed at T by :func:`existed_at`, so that all reads agree:

* A pod does not exist from `deleted_at` on: its deletion was requested, and its containers have ended. One that
  was created again with the same UID does not exist between the two: `left_at` of the statuses from the end of the
  deletion on holds the time of that end.
* A read of the present ignores the clock where the row is newer than the clock. A pod that another process has
  just written may be dated some milliseconds ahead of this process's clock and must not be hidden.

A time of None means the present in every method.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, NamedTuple, Self

import orjson
from sqlalchemy import BindParameter, ColumnElement, Select, and_, case, func, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.db.models import Pod, PodStatus, UtcDateTime
from app.db.statement import Row
from app.kubernetes.printer import PodOutline
from app.pods.context import FleetContext
from app.pods.explain import StatusInterval

MAX_STATUSES = 100
_MAX_NAMESAKES = 10
ENDED = ("Succeeded", "Failed")
"""The phases of pods that use nothing more."""


def status_at(at: datetime | BindParameter[Any], *, or_written: bool = False) -> ColumnElement[bool]:
    """Return the condition that selects the status of a pod at a time, for pods joined with their statuses.

    Args:
        at: the time, or the parameter that holds it.
        or_written: also accept statuses up to the pod's last change, for a read of the present.
    """
    earlier = aliased(PodStatus)
    until: ColumnElement[datetime] = type_coerce(at, UtcDateTime())
    if or_written:
        until = case((Pod.updated_at > until, Pod.updated_at), else_=until)
    # An upper bound, an order and a limit: the database finds the row at once in the index of the primary key.
    last = select(earlier.effective_at).where(earlier.pod_id == Pod.id, earlier.effective_at <= until)
    last = last.order_by(earlier.effective_at.desc()).limit(1)
    return PodStatus.effective_at == last.correlate(Pod).scalar_subquery()


def existed_at(at: datetime | None) -> ColumnElement[bool]:
    """Return the condition that excludes pods deleted by a time, for pods joined with :func:`status_at`.

    Without a time, it excludes the deleted pods.
    """
    if at is None:
        return Pod.deleted_at.is_(None)
    return and_(
        or_(Pod.deleted_at.is_(None), Pod.deleted_at > at),
        or_(PodStatus.left_at.is_(None), PodStatus.left_at > at),
    )


class NodePods(NamedTuple):
    """The pods of a node at a time.

    Attributes:
        by_phase: the number of pods in each phase that occurs.
        active: the number of pods that have not ended: neither Succeeded nor Failed.
        cpu_millicores: the CPU that those request, in thousandths.
        memory_bytes: the memory that those request.
    """

    by_phase: dict[str, int]
    active: int
    cpu_millicores: int
    memory_bytes: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """Sum up rows of `phase`, `pods`, `cpu_millicores`, `memory_bytes`."""
        active = [row for row in rows if row.phase not in ENDED]
        return cls(
            by_phase={row.phase: row.pods for row in rows},
            active=sum(row.pods for row in active),
            cpu_millicores=int(sum(row.cpu_millicores or 0 for row in active)),
            memory_bytes=int(sum(row.memory_bytes or 0 for row in active)),
        )


class PodQueries:
    """Queries over the pods of one fleet. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet

    def pods_at(self, at: datetime | None, *columns: Any, include_deleted: bool = False) -> Select[Any]:
        """Return a query over the pods that existed at a time, each joined with its status at that time.

        Args:
            include_deleted: also pods deleted by then, joined with their last status.
        """
        query = (
            select(*columns)
            .select_from(Pod)
            .join(PodStatus)
            .where(
                Pod.fleet == self._fleet.name,
                status_at(at or self._fleet.clock(), or_written=at is None),
            )
        )
        if include_deleted:
            return query
        return query.where(existed_at(at))

    def names(self, prefix: str, *, limit: int) -> list[str]:
        """Return the live pods whose `NAMESPACE/NAME` begins with a text, in order."""
        return self._live(Pod.namespace + "/" + Pod.name, prefix, limit)

    def namespaces(self, prefix: str, *, limit: int) -> list[str]:
        """Return the namespaces of live pods that begin with a text, in order."""
        return self._live(Pod.namespace, prefix, limit)

    def _live(self, column: ColumnElement[str] | InstrumentedAttribute[str], prefix: str, limit: int) -> list[str]:
        query = select(column).where(Pod.fleet == self._fleet.name, Pod.deleted_at.is_(None)).distinct()
        query = query.where(column.startswith(prefix, autoescape=True)).order_by(column).limit(limit)
        with self._fleet.database.read() as connection:
            return list(connection.scalars(query))

    def node_names(self) -> dict[str, str]:
        """Return the node of every pod, deleted ones included, by the UID of the pod."""
        with self._fleet.database.read() as connection:
            rows = connection.execute(select(Pod.uid, Pod.node_name).where(Pod.fleet == self._fleet.name))
            return {row.uid: row.node_name for row in rows}

    def had_pods_on(self, node: str) -> bool:
        """Return whether any pod, live or deleted, is or was on a node."""
        query = select(Pod.id).where(Pod.fleet == self._fleet.name, Pod.node_name == node).limit(1)
        with self._fleet.database.read() as connection:
            return connection.execute(query).first() is not None

    def has_several_nodes(self) -> bool:
        """Return whether a live pod is on a node that has not the name of the fleet."""
        is_there = Pod.fleet == self._fleet.name, Pod.deleted_at.is_(None), Pod.node_name != self._fleet.name
        with self._fleet.database.read() as connection:
            return connection.execute(select(Pod.id).where(*is_there).limit(1)).first() is not None

    def phases(self) -> dict[str, int]:
        """Count the live pods in each phase that occurs."""
        return {row.phase: row.pods for row in self._count(None, PodStatus.phase)}

    def nodes(self, at: datetime | None = None) -> dict[str, NodePods]:
        """Return the pods of each node that has any, by the name of the node, in order."""
        rows = self._count(at, Pod.node_name, PodStatus.phase)
        return {node: NodePods.of(list(pods)) for node, pods in groupby(rows, attrgetter("node_name"))}

    def _count(self, at: datetime | None, *groups: Any) -> Sequence[Row]:
        sums = [
            func.sum(column).label(column.key) for column in (PodStatus.cpu_millicores, PodStatus.memory_bytes)
        ]
        query = self.pods_at(at, *groups, func.count().label("pods"), *sums)
        query = query.group_by(*groups).order_by(*groups)
        self._fleet.timelines.advance_all()
        with self._fleet.database.read() as connection:
            return connection.execute(query).all()

    def statuses(self, pod: Row, *, limit: int | None = None) -> list[StatusInterval]:
        """Return the statuses of a pod in order, upcoming ones included.

        Args:
            pod: a row with `id`, `pod`, `deletion_requested_at` and `deleted_at`.
            limit: only so many of the last statuses; all where None.
        """
        query = (
            select(PodStatus.effective_at, PodStatus.left_at, PodStatus.status)
            .where(PodStatus.pod_id == pod.id)
            .order_by(PodStatus.effective_at.desc())
            .limit(limit)
        )
        with self._fleet.database.read() as connection:
            rows = connection.execute(query).all()[::-1]
        outline = PodOutline.parse(pod.pod)
        ends = [row.left_at or following.effective_at for row, following in pairwise(rows)]
        if rows:
            ends.append(pod.deleted_at if pod.deleted_at and pod.deleted_at > rows[-1].effective_at else None)
        return [
            StatusInterval(row.effective_at, end, orjson.loads(row.status), outline, pod.deletion_requested_at)
            for row, end in zip(rows, ends, strict=True)
        ]

    def namesakes(self, namespace: str, name: str, *, uid: str) -> Sequence[Row]:
        """Return `uid` and `created_at` of the other pods that had a name, the newest first."""
        query = (
            select(Pod.uid, Pod.created_at)
            .where(Pod.fleet == self._fleet.name, Pod.namespace == namespace, Pod.name == name)
            .where(Pod.uid != uid)
            .order_by(Pod.id.desc())  # SQLite would follow the index of creation times, past all other pods
            .limit(_MAX_NAMESAKES)
        )
        with self._fleet.database.read() as connection:
            return connection.execute(query).all()
