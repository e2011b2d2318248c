"""Prune old rows: export them to a file, delete them, and record the pruning as an audit event.

Rows are pruned in small transactions. Each writes its rows to the file, calls `fsync`, and then deletes the rows.
A process that is killed in between leaves rows in both the file and the database, but loses none.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, inspect, or_, select, tuple_
from sqlalchemy.orm import aliased

from app.audit.writer import Caller, Event, append_events
from app.core.errors import InvalidRequest
from app.core.timestamps import rfc3339_micro
from app.db.engine import Database
from app.db.fleets import lock_fleet
from app.db.models import AuditEvent, Base, Pod, PodStatus, PodVolume, UsageChange
from app.db.statement import Row
from app.kubernetes.redact import redact_pod

_ROWS_AT_ONCE = 500
_CHARACTERS_AT_ONCE = 256 * 1024
"""Limits a transaction, so that an almost full disk has room for it."""
_ROWS_PER_CHUNK = 20
_JSON = {"change", "files", "pod", "sources", "status", "usage"}

Progress = Callable[[int], None]


class Pruned(NamedTuple):
    """The numbers of pruned rows."""

    events: int
    pods: int
    statuses: int


class Retention:
    """A pruning of the rows of a fleet.

    Args:
        before: the time before which events, ended pods and ended statuses are pruned. Events are pruned from the
            oldest up to the first that is not older, in the order of IDs, even if a later one has an older time.
    """

    def __init__(self, database: Database, *, fleet: str, before: datetime) -> None:
        self._database = database
        self._fleet_name = fleet
        self._before = before
        with database.read() as connection:
            self._through = connection.scalar(self._last_event()) or 0
            self.due = Pruned(
                *(
                    connection.scalar(select(func.count()).select_from(rows.subquery())) or 0
                    for rows in self._rows()
                )
            )
            """The numbers of rows that can be pruned at the moment."""

    def carry_out(
        self, path: Path, *, now: datetime, caller: Caller, chained: bool, progress: Progress = lambda _: None
    ) -> Pruned:
        """Export the rows to a new file as JSON Lines, and delete them.

        Args:
            progress: a function that is called with the number of rows pruned since its last call.

        Raises:
            InvalidRequest: the file exists or cannot be written. Rows that are not in the file are kept.
        """
        with new_file(path) as file:
            self._insert_event(path, now=now, caller=caller, chained=chained)
            pruned = [
                sum(_each(self._batches(rows, table, file), progress))
                for rows, table in zip(self._rows(), _TABLES, strict=True)
            ]
        return Pruned(*pruned)

    def _insert_event(self, path: Path, *, now: datetime, caller: Caller, chained: bool) -> None:
        """Record the pruning; the triggers allow the deletion of events only after that."""
        with self._database.write() as connection:
            last = select(AuditEvent.hash).where(AuditEvent.id == self._through)
            change = {
                "before": rfc3339_micro(self._before),
                **self.due._asdict(),
                "file": path.name,
                "last_hash": connection.scalar(last),
            }
            event = Event(
                at=now,
                fleet=self._fleet_name,
                caller=caller,
                verb="prune",
                pod=None,
                code=200,
                change=change,
                pruned_through=self._through,
            )
            append_events(connection, [event], chained=chained)

    def _batches(self, rows: Select[Any], table: type[Base], file: BinaryIO) -> Iterator[int]:
        """Export and delete rows in batches; yield the size of each batch."""
        keys = inspect(table).primary_key
        after = rows
        while True:
            with self._database.write() as connection:
                lock_fleet(connection, self._fleet_name)
                with connection.execute(after, execution_options={"yield_per": _ROWS_PER_CHUNK}) as result:
                    found = list(_first_batch(result))
                if not found:
                    return
                lines = [line(table, row._mapping) for row in found]
                if table is Pod:
                    lines += self._delete_history(found, connection)
                _write(file, lines)
                wanted = [tuple(row._mapping[key.name] for key in keys) for row in found]
                connection.execute(delete(table).where(tuple_(*keys).in_(wanted)))
            after = rows.where(tuple_(*keys) > wanted[-1])
            yield len(found)

    def _delete_history(self, pods: Sequence[Row], connection: Connection) -> list[bytes]:
        """Delete the rows of other tables that belong to pods; return their lines."""
        ids, uids = [pod.id for pod in pods], [pod.uid for pod in pods]
        tables: dict[type[Base], ColumnElement[bool]] = {
            PodStatus: PodStatus.pod_id.in_(ids),
            UsageChange: UsageChange.pod_id.in_(ids),
            PodVolume: and_(PodVolume.fleet == self._fleet_name, PodVolume.uid.in_(uids)),
        }
        lines = []
        for table, of_these in tables.items():
            columns = table.__table__
            rows = connection.execute(select(columns).where(of_these).order_by(*columns.primary_key))
            lines += [line(table, row._mapping) for row in rows]
            connection.execute(delete(table).where(of_these))
        return lines

    def _rows(self) -> tuple[Select[Any], Select[Any], Select[Any]]:
        """Return the queries of the events, pods and statuses to prune; the latter of pods that are kept."""
        later, recent = aliased(PodStatus), aliased(PodStatus)
        is_over = or_(
            PodStatus.left_at <= self._before,
            exists().where(
                later.pod_id == PodStatus.pod_id,
                later.effective_at > PodStatus.effective_at,
                later.effective_at <= self._before,
            ),
        )
        has_ended = and_(
            Pod.deleted_at.is_not(
                None
            ),  # without this, the condition is NULL for existing pods, and so is its negation
            Pod.deleted_at < self._before,
            Pod.continues_at.is_(None),
            ~exists().where(recent.pod_id == Pod.id, recent.effective_at >= self._before),
        )
        event, pod, status = (table.__table__ for table in _TABLES)
        return (
            select(event)
            .where(AuditEvent.fleet == self._fleet_name, AuditEvent.id <= self._through)
            .order_by(AuditEvent.id),
            select(pod).where(Pod.fleet == self._fleet_name, has_ended).order_by(Pod.id),
            select(status)
            .join(pod)
            .where(Pod.fleet == self._fleet_name, ~has_ended, is_over)
            .order_by(*_KEY_OF_STATUS),
        )

    def _last_event(self) -> Select[int]:
        of_fleet = AuditEvent.fleet == self._fleet_name
        first_kept = select(func.min(AuditEvent.id)).where(of_fleet, AuditEvent.at >= self._before)
        is_older = AuditEvent.id < func.coalesce(first_kept.scalar_subquery(), 2**62)
        return select(func.max(AuditEvent.id)).where(of_fleet, is_older)


_TABLES: tuple[type[Base], ...] = (AuditEvent, Pod, PodStatus)
_KEY_OF_STATUS = (PodStatus.pod_id, PodStatus.effective_at)


def line(table: type[Base], row: Any) -> bytes:
    """Format a row as a line of JSON: the table name, then the columns; environment values are redacted."""
    document = {"table": table.__tablename__, **row}
    for name in _JSON & document.keys():
        if document[name] is not None:
            document[name] = orjson.loads(document[name])
    if table is Pod:
        document["pod"] = redact_pod(document["pod"])
    return orjson.dumps(document, option=orjson.OPT_UTC_Z) + b"\n"


def _first_batch(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows up to both limits of a batch, and at least one."""
    characters = 0
    for count, row in enumerate(rows):
        if count == _ROWS_AT_ONCE or (count and characters > _CHARACTERS_AT_ONCE):
            return
        characters += sum(len(value) for value in row if isinstance(value, str))
        yield row


def _each(counts: Iterator[int], progress: Progress) -> Iterator[int]:
    for count in counts:
        progress(count)
        yield count


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Create and open a file that only its owner can read.

    Raises:
        InvalidRequest: the file exists or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            yield file
    except OSError as exc:
        raise InvalidRequest(f"{path}: {exc.strerror}", field="export") from exc


def _write(file: BinaryIO, lines: list[bytes]) -> None:
    file.writelines(lines)
    file.flush()
    os.fsync(file.fileno())
