"""The rows of pods within one transaction: read many at once, and written many at once.

The problem: a transaction that creates a hundred pods would execute a thousand statements. Most of the time of a
write is spent in each statement's way to the database, not in its effect.

The rule: :meth:`PodRows.load` reads the rows of all pods that the transaction is about. Changes are collected, and
rows that are alike are written by one statement at the end. Whatever is read again after a change is written
first, so that the database answers as if every change had been made at once. Each step of a transaction can be
rolled back alone: what it has collected is dropped, and only a step whose changes had to be written before its end
needs a savepoint.

An example: a batch creates `a`, `b` and `b` with another UID. `a` and the first `b` are collected. The third item
finds that `b` has changed: both are written, a savepoint is set, and `b` is read again. At the end, one statement
inserts the second `b`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, not_, select, tuple_, union_all, update
from sqlalchemy.orm import aliased

from app import audit
from app.audit import Event
from app.core import metrics
from app.core.errors import ProviderError
from app.db.lists import encode, numbers, pairs, strings
from app.db.models import Pod, PodStatus, UsageChange
from app.db.statement import Row, Statement, execute, parameters
from app.kubernetes import status as statuses
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import Transition
from app.pods.list_columns import OF_MANIFEST, OF_STATUS, search_text, status_columns

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)

SELECT_POD_ROW = select(
    Pod.id, Pod.namespace, Pod.name, Pod.uid, Pod.pod, Pod.digest, Pod.pod_ip, Pod.created_at,
    Pod.updated_at, Pod.starts_at, Pod.deletion_requested_at, Pod.grace_ends_at, Pod.deleted_at, Pod.continues_at,
    Pod.revision, Pod.controller_uid, Pod.node_name, Pod.status_at,
    *(Pod.__table__.c[name] for name in (*OF_MANIFEST, *OF_STATUS)),
).where(Pod.fleet == bindparam("fleet"))  # fmt: skip
"""The columns of a pod that writers and runtimes need."""

Name = tuple[str, str]
"""The namespace and the name of a pod."""

_CHANGEABLE = (
    "pod", "digest", "pod_ip", "created_at", "updated_at", "starts_at", "deletion_requested_at", "grace_ends_at",
    "deleted_at", "continues_at", "revision", "controller_uid", "node_name", "status_at", *OF_MANIFEST, *OF_STATUS,
)  # fmt: skip


def _select_known(dialect: str) -> Any:
    is_named = and_(Pod.deleted_at.is_(None), tuple_(Pod.namespace, Pod.name).in_(pairs("names", dialect)))
    return union_all(
        SELECT_POD_ROW.where(is_named),
        SELECT_POD_ROW.where(Pod.uid.in_(strings("uids", dialect)), not_(is_named)),
    )


_SELECT_KNOWN = Statement(_select_known)
_SELECT_LAST = Statement(
    select(PodStatus.effective_at, PodStatus.status)
    .where(PodStatus.pod_id == bindparam("pod_id"), PodStatus.effective_at <= bindparam("until"))
    .order_by(PodStatus.effective_at.desc())
    .limit(1)
)


def _select_lasts(dialect: str) -> Any:
    pods, earlier = numbers("pod_ids", dialect).subquery(), aliased(PodStatus)
    pod_id = pods.c[0]
    last = select(func.max(earlier.effective_at)).where(
        earlier.pod_id == pod_id, earlier.effective_at <= bindparam("until")
    )
    return select(PodStatus.pod_id, PodStatus.effective_at, PodStatus.status).join_from(
        pods, PodStatus, (PodStatus.pod_id == pod_id) & (PodStatus.effective_at == last.scalar_subquery())
    )


_SELECT_LASTS = Statement(_select_lasts)
_INSERT_POD = Statement(
    insert(Pod).inline().values(parameters("fleet", "namespace", "name", "uid", *_CHANGEABLE, "search_text"))
)
_DELETE_STATUSES = Statement(
    delete(PodStatus).where(PodStatus.pod_id == bindparam("of_pod"), PodStatus.effective_at >= bindparam("at"))
)
_ID_OF_POD = select(Pod.id).where(Pod.fleet == bindparam("fleet"), Pod.uid == bindparam("uid")).scalar_subquery()
_INSERT_STATUS = Statement(
    insert(PodStatus)
    .inline()
    .values(
        pod_id=_ID_OF_POD,
        **parameters("effective_at", "status", *OF_STATUS),
    )
)
_INSERT_USAGE_CHANGE = Statement(insert(UsageChange).inline().values(parameters("pod_id", "changed_at", "usage")))
_UPDATE_POD = Statement(
    update(Pod).where(Pod.id == bindparam("pod_id")).values(parameters(*_CHANGEABLE, "search_text"))
)


_WRITES = (_INSERT_POD, _DELETE_STATUSES, _INSERT_STATUS, _UPDATE_POD, _INSERT_USAGE_CHANGE)


class Unchanged(Exception):
    """A request asks for what is there already: its step is rolled back, and it succeeds."""


class _Changes:
    """Collected changes. Those of one pod that depend on each other are written in the order of the statements."""

    def __init__(self) -> None:
        self.rows: dict[Statement, list[dict[str, Any]]] = {statement: [] for statement in _WRITES}
        self.events: list[Event] = []

    def extend(self, later: "_Changes") -> None:
        for statement, rows in later.rows.items():
            self.rows[statement] += rows
        self.events += later.events


class PodRows:
    """Reads and writes the rows of a fleet's pods in one transaction.

    Args:
        connection: a connection in the transaction; the fleet is locked.
        now: the time of the transaction.
        last_hash: the hash of the fleet's last audit event; None without AUDIT_HASH_CHAIN.
    """

    def __init__(self, connection: Connection, fleet: str, *, now: datetime, last_hash: str | None) -> None:
        self.connection = connection
        self._fleet_name = fleet
        self._now = now
        self._inserted: dict[str, list[dict[str, Any]]] = {}
        self._last_hash = last_hash
        self._named: dict[Name, list[Row]] = {}
        self._of_uid: dict[str, Row | None] = {}
        self._last: dict[int, Row] = {}
        self._last_until = FOREVER
        self._changes = _Changes()
        self._step: _Changes | None = None
        self._has_savepoint = False
        self._hash_before_step = last_hash

    def load(self, names: Iterable[Name], uids: Iterable[str]) -> None:
        """Read the pods with these names that are not gone, and all pods with these UIDs."""
        found: dict[Name, list[Row]] = {name: [] for name in names}
        of_uid: dict[str, Row | None] = dict.fromkeys(uids)
        key = {"fleet": self._fleet_name, "names": encode(list(found)), "uids": encode(list(of_uid))}
        for row in _SELECT_KNOWN.all(self.connection, **key):
            if row.deleted_at is None and (row.namespace, row.name) in found:
                found[row.namespace, row.name].append(row)
            if row.uid in of_uid:
                of_uid[row.uid] = row
        self._named |= {name: sorted(rows, key=_age) for name, rows in found.items()}
        self._of_uid |= of_uid

    def load_statuses(self, *, until: datetime) -> None:
        """Read the status that holds at a time of every pod that was read."""
        pods = {row.id for rows in self._named.values() for row in rows}
        if pods:
            self._last = {row.pod_id: row for row in _last_rows(self.connection, pods, until=until)}
            self._last_until = until

    def transition_at(self, pod_id: int, *, until: datetime) -> Transition:
        """Return the last status that holds from `until` or earlier."""
        last = self._last.get(pod_id) if until == self._last_until else None
        if last is None:
            return last_transition(self.connection, pod_id, until=until)
        return _transition(last)

    def named(self, namespace: str, name: str) -> list[Row]:
        """Return the pods with a name that are not gone: first the one that is not being deleted."""
        if (namespace, name) not in self._named:
            self.flush()
            self.load([(namespace, name)], [])
        return self._named[namespace, name]

    def with_uid(self, uid: str) -> Row | None:
        """Return the pod with a UID, gone or not; None where there is none."""
        if uid not in self._of_uid:
            self.flush()
            self.load([], [uid])
        return self._of_uid[uid]

    def insert_pod(self, *, namespace: str, name: str, uid: str, **columns: Any) -> None:
        """Insert a pod, whose statuses were inserted before."""
        self._forget(namespace, name, uid)
        key = {"fleet": self._fleet_name, "namespace": namespace, "name": name, "uid": uid}
        inserted = {**key, **columns, **self._current(uid, until=columns["updated_at"])}
        self._add(_INSERT_POD, {**inserted, "search_text": search_text(inserted)})

    def update_pod(self, row: Row, **columns: Any) -> None:
        """Update columns of a pod, whose new statuses were inserted before."""
        self._forget(row.namespace, row.name, row.uid)
        self._last.pop(row.id, None)
        current = self._current(row.uid, until=columns.get("updated_at", row.updated_at))
        updated = {**row._asdict(), **columns, **current}
        self._add(_UPDATE_POD, {**updated, "pod_id": row.id, "search_text": search_text(updated)})

    def delete_statuses_from(self, pod_id: int, *, at: datetime) -> None:
        """Delete the statuses that hold from a time or later."""
        self._last.pop(pod_id, None)
        self._add(_DELETE_STATUSES, {"of_pod": pod_id, "at": at})

    def insert_statuses(self, uid: str, manifest: Manifest, transitions: Sequence[Transition]) -> None:
        """Insert statuses of a pod.

        Args:
            uid: the UID under which the pod is stored.
            manifest: the pod while they hold.
        """
        columns = status_columns(manifest.pod, [status for _, status in transitions])
        for (effective_at, status), listed in zip(transitions, columns, strict=True):
            row = {
                "fleet": self._fleet_name,
                "uid": uid,
                "effective_at": effective_at,
                "status": statuses.encode_status(status),
                **listed,
            }
            self._add(_INSERT_STATUS, row)
            self._inserted.setdefault(uid, []).append(row)

    def insert_usage_change(self, pod_id: int, *, changed_at: datetime, usage: str) -> None:
        """Insert the usage that a pod had until a time."""
        self._add(_INSERT_USAGE_CHANGE, {"pod_id": pod_id, "changed_at": changed_at, "usage": usage})

    def record(self, event: Event) -> None:
        """Insert an audit event."""
        (self._step or self._changes).events.append(event)

    def flush(self) -> None:
        """Write the collected changes; within a step, after a savepoint."""
        self._write(self._changes)
        self._changes = _Changes()
        if self._step:
            if not self._has_savepoint:
                execute(self.connection, "SAVEPOINT step")
                self._has_savepoint, self._hash_before_step = True, self._last_hash
            self._write(self._step)
            self._step = _Changes()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Collect the changes of one step; drop them, or roll them back, where it is refused."""
        self._step, self._has_savepoint = _Changes(), False
        self._inserted = {}
        try:
            yield
        except (ProviderError, Unchanged):  # after any other error, the transaction does not go on
            if self._has_savepoint:
                execute(self.connection, "ROLLBACK TO SAVEPOINT step")
                execute(self.connection, "RELEASE SAVEPOINT step")
                self._named.clear()
                self._of_uid.clear()
                self._last_hash = self._hash_before_step
            raise
        else:
            self._changes.extend(self._step)
            if self._has_savepoint:
                execute(self.connection, "RELEASE SAVEPOINT step")
        finally:
            self._step = None

    def _current(self, uid: str, *, until: datetime) -> dict[str, Any]:
        """Return the list columns of the status that was inserted last and holds now; {} where none was."""
        until = max(until, self._now)
        begun = [row for row in self._inserted.pop(uid, ()) if row["effective_at"] <= until]
        if not begun:
            return {}
        return {"status_at": begun[-1]["effective_at"], **{name: begun[-1][name] for name in OF_STATUS}}

    def _forget(self, namespace: str, name: str, uid: str) -> None:
        """Drop the rows of a changed pod: they are read again when they are needed."""
        self._named.pop((namespace, name), None)
        self._of_uid.pop(uid, None)

    def _add(self, statement: Statement, row: dict[str, Any]) -> None:
        (self._step or self._changes).rows[statement].append(row)

    def _write(self, changes: _Changes) -> None:
        for statement, rows in changes.rows.items():
            statement.run_all(self.connection, rows)
        for phase, count in Counter(row["phase"] for row in changes.rows[_INSERT_STATUS]).items():
            metrics.transition(phase).inc(count)
        if changes.events:
            self._last_hash = audit.insert_events(self.connection, changes.events, after=self._last_hash)


def last_transition(connection: Connection, pod_id: int, *, until: datetime) -> Transition:
    """Return the last status that holds from `until` or earlier; of all statuses with `FOREVER`."""
    return _transition(_SELECT_LAST.one(connection, pod_id=pod_id, until=until))


def last_transitions(connection: Connection, pod_ids: Iterable[int], *, until: datetime) -> dict[int, Transition]:
    """Return the last status of each of several pods: the ID of the pod → what :func:`last_transition` returns."""
    return {row.pod_id: _transition(row) for row in _last_rows(connection, pod_ids, until=until)}


def _last_rows(connection: Connection, pod_ids: Iterable[int], *, until: datetime) -> list[Row]:
    return _SELECT_LASTS.all(connection, pod_ids=encode(list(pod_ids)), until=until)


def _transition(row: Row) -> Transition:
    return Transition(row.effective_at, statuses.decode_status(row.status))


def _age(row: Row) -> tuple[bool, float]:
    return row.deletion_requested_at is not None, -row.created_at.timestamp()
