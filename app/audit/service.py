"""The audit log of a fleet: read events, run reports, verify the hash chain, prune old rows."""

from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select, true

from app.audit import hash_chain as chain
from app.audit.hash_chain import Verification
from app.audit.reports import REPORTS, ReportResult, run_report
from app.audit.retention import Retention
from app.core.errors import InvalidRequest
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import AuditEvent

_ROWS_A_CHUNK = 500
_EVENTS = AuditEvent.__table__


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on events. An event matches if all conditions that are not None hold.

    Attributes:
        since: the earliest time, inclusive.
        until: the latest time, exclusive.
        outcome: `done` or `refused`.
        node: the name of the node.
        after: the ID after which events match.
    """

    since: datetime | None = None
    until: datetime | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    verb: str | None = None
    outcome: str | None = None
    after: int | None = None
    node: str | None = None


class AuditLog:
    """The audit log of one fleet. Every method can raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fleet_name = settings.node_name
        self._clock = clock

    def events(self, which: AuditFilter) -> Generator[dict[str, Any], None, None]:
        """Yield the matching events by column, oldest first; rows are fetched while they are consumed."""
        query = select(_EVENTS).where(*self._conditions(which)).order_by(AuditEvent.id)
        with (
            self._database.read(streaming=True) as connection,
            connection.execute(query, execution_options={"yield_per": _ROWS_A_CHUNK}) as rows,
        ):
            yield from (row._asdict() for row in rows)

    def last_events(self, which: AuditFilter, *, count: int) -> list[dict[str, Any]]:
        """Return the last `count` matching events, oldest first."""
        query = select(_EVENTS).where(*self._conditions(which)).order_by(AuditEvent.id.desc()).limit(count)
        with self._database.read() as connection:
            return [row._asdict() for row in reversed(connection.execute(query).all())]

    def count(self, which: AuditFilter) -> int:
        """Return the number of matching events."""
        query = select(func.count()).select_from(AuditEvent).where(*self._conditions(which))
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def run_report(self, report: str, *, node: str | None = None, **values: object) -> ReportResult:
        """Run a report of `app.audit.reports.REPORTS`.

        Args:
            report: the name of the report.
            node: only this node of the fleet; all nodes where None.
            values: a value for each parameter of the report; times are aware.
        """
        with self._database.read() as connection:
            return run_report(connection, REPORTS[report], fleet=self._fleet_name, node=node, **values)

    def verify(
        self, *, noted: str | None = None, progress: Callable[[int], None] = lambda _: None
    ) -> Verification:
        """Verify the hash chain; see :func:`app.audit.hash_chain.verify`."""
        with self._database.read(streaming=True) as connection:
            return chain.verify(connection, self._fleet_name, noted=noted, progress=progress)

    def retention(self, before: datetime) -> Retention:
        """Return a pruning of the rows from before a time, which the caller can carry out.

        Raises:
            InvalidRequest: the time is in the future.
        """
        if before > self._clock():
            raise InvalidRequest("must not be in the future", field="before")
        return Retention(self._database, fleet=self._fleet_name, before=before)

    def _conditions(self, which: AuditFilter) -> list[Any]:
        columns = {name: getattr(which, name) for name in ("namespace", "name", "uid", "verb")}
        return [
            AuditEvent.fleet == self._fleet_name,
            *(_EVENTS.c[name] == value for name, value in columns.items() if value is not None),
            AuditEvent.at >= which.since if which.since else true(),
            AuditEvent.at < which.until if which.until else true(),
            AuditEvent.id > which.after if which.after is not None else true(),
            AuditEvent.node() == which.node if which.node else true(),
            (AuditEvent.code < 400) == (which.outcome == "done") if which.outcome else true(),
        ]
