"""The audit log of a fleet: record and read events, run reports, verify the hash chain, prune old rows."""

from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, func, not_, or_, select, true, tuple_

from app.audit import hash_chain as chain
from app.audit.hash_chain import Verification
from app.audit.reports import REPORTS, ReportResult, run_report
from app.audit.retention import Retention
from app.audit.writer import Caller, Event, Outcome, Verb, append_events
from app.core.errors import InvalidRequest
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import AuditEvent
from app.db.statement import Row
from app.db.text_search import Contains

_ROWS_PER_CHUNK = 500
_SEARCHED_EVENTS = 50_000
_EVENTS = AuditEvent.__table__
_NEWEST_FIRST = AuditEvent.at.desc(), AuditEvent.id.desc()


def chunk_sizes() -> Iterator[int]:
    """Yield the numbers of rows in which a long result is read: few at first, so that its first rows come soon."""
    yield from (5, 50)
    yield from repeat(_ROWS_PER_CHUNK)


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on events. An event matches if all conditions that are not None hold.

    Attributes:
        since: the earliest time, inclusive.
        until: the latest time, exclusive.
        outcome: `done` or `refused`.
        after: the ID after which events match.
        node: the name of the node.
        who: a part of the user agent or the address of the client.
        what: a part of the change, such as the name of a field.
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
    who: str | None = None
    what: str | None = None

    @property
    def is_search(self) -> bool:
        """Whether events must be read to find those that match: neither a name nor a time alone selects them."""
        return self.name is None and msgspec.structs.replace(self, since=None, until=None) != AuditFilter()


class EventPage(NamedTuple):
    """Audit events by column, and the ID behind which the next page begins; None on the last page."""

    events: list[dict[str, Any]]
    after: int | None


class AuditLog:
    """The audit log of one fleet. Every method can raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fleet_name = settings.node_name
        self._chained = settings.audit_hash_chain
        self._clock = clock

    def record(self, caller: Caller, verb: Verb, outcomes: Iterable[Outcome]) -> None:
        """Insert the events of requests that change no pod: refused ones, streams, entries of a scenario."""
        now = self._clock()
        events = [
            Event(at=now, fleet=self._fleet_name, caller=caller, verb=verb, **outcome._asdict())
            for outcome in outcomes
        ]
        with self._database.write() as connection:
            append_events(connection, events, chained=self._chained)

    def events(
        self, which: AuditFilter, *, at: datetime | None = None, newest_first: bool = False
    ) -> Generator[dict[str, Any], None, None]:
        """Yield the matching events by column, oldest first; rows are fetched while they are consumed.

        Args:
            at: only the events up to this time, inclusive; all where None.
            newest_first: yield the newest first.
        """
        query = select(_EVENTS).where(*self._conditions(which, at))
        query = query.order_by(*_NEWEST_FIRST) if newest_first else query.order_by(AuditEvent.id)
        with (
            self._database.read(streaming=True) as connection,
            connection.execute(
                query, execution_options={"stream_results": True, "max_row_buffer": _ROWS_PER_CHUNK}
            ) as rows,
        ):
            for size in chunk_sizes():
                if not (found := rows.fetchmany(size)):
                    return
                yield from (row._asdict() for row in found)

    def last_events(self, which: AuditFilter, *, count: int) -> list[dict[str, Any]]:
        """Return the last `count` matching events, oldest first."""
        query = select(_EVENTS).where(*self._conditions(which)).order_by(AuditEvent.id.desc()).limit(count)
        with self._database.read() as connection:
            return [row._asdict() for row in reversed(connection.execute(query).all())]

    def page(
        self, which: AuditFilter, *, at: datetime | None = None, after: int | None = None, limit: int = 100
    ) -> EventPage:
        """Return a page of the matching events up to a time, inclusive, the newest first.

        A search looks at `_SEARCHED_EVENTS` events at most; `after` is then the last of them.

        Args:
            after: the `after` of the previous page; the first page where None.

        Raises:
            InvalidRequest: no event has the ID `after`.
        """
        query = select(_EVENTS).where(*self._conditions(which, at)).order_by(*_NEWEST_FIRST).limit(limit + 1)
        key = tuple_(AuditEvent.at, AuditEvent.id)
        with self._database.read() as connection:
            first = None if after is None else _key(connection, after)
            last = self._last_searched(connection, at, first) if which.is_search else None
            if first:
                query = query.where(key < tuple(first))
            if last:
                query = query.where(key >= tuple(last))
            events = [row._asdict() for row in connection.execute(query)]
        if len(events) > limit:
            return EventPage(events[:limit], events[limit - 1]["id"])
        return EventPage(events, last.id if last else None)

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

    def _last_searched(self, connection: Connection, at: datetime | None, first: Row | None) -> Row | None:
        """Return the key of the last event that a search behind a key looks at; None if it looks at all."""
        query = select(AuditEvent.at, AuditEvent.id).where(AuditEvent.fleet == self._fleet_name)
        if at:
            query = query.where(AuditEvent.at <= at)
        if first:
            query = query.where(tuple_(AuditEvent.at, AuditEvent.id) < tuple(first))
        query = query.order_by(*_NEWEST_FIRST).offset(_SEARCHED_EVENTS - 1).limit(1)
        return connection.execute(query).first()

    def _conditions(self, which: AuditFilter, at: datetime | None = None) -> list[Any]:
        columns = {name: getattr(which, name) for name in ("namespace", "name", "uid", "verb")}
        refused = AuditEvent.is_refused()
        clients = AuditEvent.user_agent, AuditEvent.address
        return [
            AuditEvent.fleet == self._fleet_name,
            *(_EVENTS.c[name] == value for name, value in columns.items() if value is not None),
            AuditEvent.at <= at if at else true(),
            AuditEvent.at >= which.since if which.since else true(),
            AuditEvent.at < which.until if which.until else true(),
            AuditEvent.id > which.after if which.after is not None else true(),
            AuditEvent.node() == which.node if which.node else true(),
            (refused if which.outcome == "refused" else not_(refused)) if which.outcome else true(),
            or_(*(Contains(column, which.who) for column in clients)) if which.who else true(),
            Contains(AuditEvent.change, which.what) if which.what else true(),
        ]


def _key(connection: Connection, event_id: int) -> Row:
    """Return the time and the ID of an event."""
    row = connection.execute(select(AuditEvent.at, AuditEvent.id).where(AuditEvent.id == event_id)).one_or_none()
    if row is None:
        raise InvalidRequest("names no row: begin with the first page", field="after")
    return row
