"""What the node has, or had at any time, for people to look at: pods in numbers and in pages, the audit.

A time of None is now. Pages are cut by key: each begins behind the last row of the one before, so the thousandth
costs what the first does.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Select, func, select, tuple_

from app.core.errors import InvalidRequest, NotFound
from app.db.engine import Database
from app.db.models import AuditEvent, Pod, PodStatus
from app.db.statement import Row
from app.kubernetes.resources import ResourceRequests
from app.pods.advance import TimelineAdvancer
from app.pods.then import existed_at, status_at
from app.pods.writer import Clock

MOST_STATUSES = 100
_MOST_NAMESAKES = 10

Sort = Literal["name", "newest", "oldest"]
_KEYS: dict[Sort, tuple[Any, ...]] = {
    "name": (Pod.namespace, Pod.name, Pod.id),
    "newest": (Pod.created_at, Pod.id),
    "oldest": (Pod.created_at, Pod.id),
}
_RECORD = (
    Pod.id, Pod.namespace, Pod.name, Pod.uid, Pod.pod_ip, Pod.created_at, Pod.updated_at, Pod.deleted_at,
    Pod.continues_at,
)  # fmt: skip
_STATUS = (PodStatus.effective_at, PodStatus.phase, PodStatus.reason, PodStatus.status)


class PodFilter(NamedTuple):
    """Which pods are wanted; what is None does not matter.

    Attributes:
        name: a part of the name.
    """

    namespace: str | None = None
    name: str | None = None
    phase: str | None = None


class EventFilter(NamedTuple):
    """Which audit events are wanted; what is None does not matter.

    Attributes:
        refused: only those that were refused.
    """

    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    verb: str | None = None
    refused: bool = False


class Page(NamedTuple):
    """Rows, and the ID behind which the next page begins; None where this is the last."""

    rows: Sequence[Row]
    after: int | None


class PodQueries:
    """The pods and the audit of one node, to look at. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, timelines: TimelineAdvancer, *, node_name: str, clock: Clock) -> None:
        self._database = database
        self._timelines = timelines
        self._node_name = node_name
        self._clock = clock

    def phases(self, at: datetime | None = None) -> Sequence[Row]:
        """Count pods: rows of `namespace`, `phase`, `pods`. It takes 0.2 s where there are 50,000."""
        groups = (Pod.namespace, PodStatus.phase)
        query = self._held(at, *groups, func.count().label("pods")).group_by(*groups).order_by(*groups)
        with self._database.read() as connection:
            return connection.execute(query).all()

    def requested(self, at: datetime | None = None) -> ResourceRequests:
        """Add up what the pods request that have not ended, as a scheduler counts them."""
        sums = (func.sum(PodStatus.cpu_millicores), func.sum(PodStatus.memory_bytes))
        query = self._held(at, *sums).where(PodStatus.phase.not_in(["Succeeded", "Failed"]))
        with self._database.read() as connection:
            cpu, memory = connection.execute(query).one()
        return ResourceRequests(cpu_millicores=int(cpu or 0), memory_bytes=int(memory or 0))

    def pods(
        self,
        wanted: PodFilter,
        *,
        at: datetime | None = None,
        sort: Sort = "name",
        after: int | None = None,
        limit: int = 100,
    ) -> Page:
        """Give a page of the pods that were there, each with the status that held.

        Args:
            after: the ID of the last pod of the page before; None for the first page.

        Raises:
            InvalidRequest: `after` is nobody's.
        """
        query = self._held(at, *_RECORD, *_STATUS)
        if wanted.namespace:
            query = query.where(Pod.namespace == wanted.namespace)
        if wanted.name:
            query = query.where(Pod.name.contains(wanted.name.lower(), autoescape=True))
        if wanted.phase:
            query = query.where(PodStatus.phase == wanted.phase)
        self._timelines.advance_all()
        with self._database.read() as connection:
            return _page(connection, query, _KEYS[sort], after=after, limit=limit, descending=sort == "newest")

    def pod(self, uid: str) -> Row:
        """Give the record of a pod that is or was here, the Pod itself included: mind what is in it.

        Raises:
            NotFound: no pod of this UID was ever here.
        """
        self._timelines.advance_all()
        query = select(*_RECORD, Pod.pod).where(Pod.node_name == self._node_name, Pod.uid == uid)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f'no pod of UID "{uid}" was ever on this node')
        return row

    def course(self, pod_id: int) -> Sequence[Row]:
        """Give the statuses of a pod in their order, those to come included; of very many, the last."""
        query = select(*_STATUS).where(PodStatus.pod_id == pod_id).order_by(PodStatus.effective_at.desc())
        with self._database.read() as connection:
            return connection.execute(query.limit(MOST_STATUSES)).all()[::-1]

    def namesakes(self, pod: Row) -> Sequence[Row]:
        """Give the records of other pods that had the name of this one, the newest first."""
        query = (
            select(*_RECORD)
            .where(Pod.node_name == self._node_name, Pod.namespace == pod.namespace, Pod.name == pod.name)
            .where(Pod.id != pod.id)
            .order_by(Pod.created_at.desc())
            .limit(_MOST_NAMESAKES)
        )
        with self._database.read() as connection:
            return connection.execute(query).all()

    def events(
        self, wanted: EventFilter, *, at: datetime | None = None, after: int | None = None, limit: int = 100
    ) -> Page:
        """Give a page of audit events, the newest first: what was done, or refused, until a time.

        Raises:
            InvalidRequest: `after` is nobody's.
        """
        query = select(AuditEvent.__table__).where(AuditEvent.node_name == self._node_name)
        for column, value in (
            (AuditEvent.namespace, wanted.namespace),
            (AuditEvent.name, wanted.name),
            (AuditEvent.uid, wanted.uid),
            (AuditEvent.verb, wanted.verb),
        ):
            if value:
                query = query.where(column == value)
        if wanted.refused:
            query = query.where(AuditEvent.code >= 400)
        if at:
            query = query.where(AuditEvent.at <= at)
        keys = (AuditEvent.at, AuditEvent.id)
        with self._database.read() as connection:
            return _page(connection, query, keys, after=after, limit=limit, descending=True)

    def _held(self, at: datetime | None, *columns: Any) -> Select[Any]:
        """Select from the pods that were there at a time, each joined with the status that held."""
        is_there = existed_at(at) if at else Pod.deleted_at.is_(None)
        holds = status_at(at or self._clock(), or_written=at is None)
        return (
            select(*columns)
            .select_from(Pod)
            .join(PodStatus)
            .where(Pod.node_name == self._node_name, is_there, holds)
        )


def _page(
    connection: Connection,
    query: Select[Any],
    keys: tuple[Any, ...],
    *,
    after: int | None,
    limit: int,
    descending: bool,
) -> Page:
    """Cut a page out of what a query gives, in the order of some columns, the last of them the ID."""
    if after is not None:
        last = connection.execute(select(*keys).where(keys[-1] == after)).one_or_none()
        if last is None:
            raise InvalidRequest("names no row: begin with the first page", field="after")
        query = query.where(tuple_(*keys) < tuple(last) if descending else tuple_(*keys) > tuple(last))
    order = [key.desc() if descending else key for key in keys]
    rows = connection.execute(query.order_by(*order).limit(limit + 1)).all()
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)
