"""The times at which something in the fleet changed: a status began to hold, or a write request was answered."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import InstrumentedAttribute

from app.db.models import AuditEvent, Pod, PodStatus
from app.pods.context import FleetContext


class Changes:
    """Finds the change before or after a time. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet

    def before(self, time: datetime, *, uid: str | None = None) -> datetime | None:
        """Return the time of the last change before a time; None if there is none.

        Args:
            uid: only changes of the pod with this UID.
        """
        return max(
            self._run(query.where(key < time).order_by(key.desc()) for key, query in self._of(uid)), default=None
        )

    def after(self, time: datetime, *, until: datetime, uid: str | None = None) -> datetime | None:
        """Return the time of the first change after a time and up to another; None if there is none."""
        queries = (query.where(key > time, key <= until).order_by(key) for key, query in self._of(uid))
        return min(self._run(queries), default=None)

    def _of(self, uid: str | None) -> Iterator[tuple[InstrumentedAttribute[Any], Select[Any]]]:
        """Yield each column that holds times of changes, with the query for them."""
        pods = [Pod.fleet == self._fleet.name, *([Pod.uid == uid] if uid else [])]
        # With EXISTS instead of a join, the database takes the statuses in the order of their index.
        of_fleet = exists().where(Pod.id == PodStatus.pod_id, *pods)
        yield PodStatus.effective_at, select(PodStatus.effective_at).where(of_fleet)
        events = select(AuditEvent.at).where(AuditEvent.fleet == self._fleet.name)
        if uid:
            name = select(Pod.namespace, Pod.name).where(*pods).subquery()
            events = events.join(
                name, (AuditEvent.namespace == name.c.namespace) & (AuditEvent.name == name.c.name)
            ).where(AuditEvent.uid == uid)
            yield Pod.deleted_at, select(Pod.deleted_at).where(*pods)
        yield AuditEvent.at, events

    def _run(self, queries: Iterator[Select[Any]]) -> list[datetime]:
        self._fleet.timelines.advance_all()
        with self._fleet.database.read() as connection:
            found = [connection.scalar(query.limit(1)) for query in queries]
        return [time for time in found if time]
