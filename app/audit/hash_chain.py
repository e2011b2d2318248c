"""The hash chain of the audit log: each event of a fleet contains the hash of the previous one.

The chain detects changes that bypass the triggers: a changed, removed or inserted row. The hash has no key, so
a user who can write to the database can also recompute the chain from a changed row on. To detect this, store the
last hash elsewhere from time to time, and pass it to :func:`verify`.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, bindparam, func, select, update

from app.core.timestamps import rfc3339_micro
from app.db.fleets import lock_fleet
from app.db.models import AuditEvent, Fleet
from app.db.statement import Row, Statement, parameters

CONTENT = (
    "at", "fleet", "revision", "request_id", "address", "user_agent", "verb", "namespace", "name", "uid",
    "code", "change", "pruned_through",
)  # fmt: skip
"""The hashed columns, in this order; `node_name` follows where it is not null."""
FIRST = "0" * 64
"""The `previous_hash` of the first event of a chain."""

_ROWS_A_CHUNK = 1000

_SET_LAST = Statement(update(Fleet).where(Fleet.name == bindparam("of_fleet")).values(parameters("audit_hash")))
_OF_FLEET = AuditEvent.fleet == bindparam("fleet")
_SELECT_HEAD = select(Fleet.audit_hash).where(Fleet.name == bindparam("fleet"))
_SELECT_PRUNED = select(func.max(AuditEvent.pruned_through)).where(_OF_FLEET)
_SELECT_PRUNINGS = select(AuditEvent.change).where(_OF_FLEET, AuditEvent.pruned_through.is_not(None))
_SELECT_EVENTS = (
    select(
        AuditEvent.id, *(AuditEvent.__table__.c[name] for name in (*CONTENT, "node_name", "previous_hash", "hash"))
    )
    .where(_OF_FLEET)
    .order_by(AuditEvent.id)
)


class Break(NamedTuple):
    """The first event at which a chain is broken, and the reason. The ID is None if the end is missing."""

    id: int | None
    why: str


class Verification(NamedTuple):
    """The result of :func:`verify`.

    Attributes:
        events: the number of valid events, up to the break if there is one.
        before: the number of events older than the chain.
        last_hash: the hash of the last valid event, to be stored elsewhere; None without events.
        broken: the break; None if the chain is valid.
    """

    events: int
    before: int
    last_hash: str | None
    broken: Break | None


def digest(previous_hash: str, content: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of an event: of the JSON array of the previous hash and the columns of `CONTENT`.

    The time is hashed as RFC 3339 in UTC, with microseconds.
    """
    values = [content[name] for name in CONTENT]
    values[0] = rfc3339_micro(values[0])
    if content["node_name"] is not None:
        values.append(content["node_name"])
    return hashlib.sha256(orjson.dumps([previous_hash, *values])).hexdigest()


def last_hash(connection: Connection, fleet: str) -> str:
    """Lock the fleet until the transaction ends, and return the hash of its last event."""
    return lock_fleet(connection, fleet).audit_hash or FIRST


def set_last(connection: Connection, fleet: str, hash_: str) -> None:
    """Store the hash of a fleet's last event, while the fleet is locked."""
    _SET_LAST.run(connection, of_fleet=fleet, audit_hash=hash_)


def verify(
    connection: Connection,
    fleet: str,
    *,
    noted: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Verify a fleet's chain from its first event to its last.

    The chain starts at the first event with a hash: older events are from before AUDIT_HASH_CHAIN was set. After a
    pruning, it starts after the last pruned event, whose hash the `prune` event contains.

    Args:
        noted: an earlier `last_hash`, which must be in the chain.
        progress: a function that is called with 1 for each valid event.
    """
    key = {"fleet": fleet}
    head = connection.scalar(_SELECT_HEAD, key)  # read before the events, so that they contain it
    pruned = connection.scalar(_SELECT_PRUNED, key) or 0
    prunings = connection.scalars(_SELECT_PRUNINGS, key)
    beginnings = {FIRST, *(orjson.loads(change or "{}").get("last_hash") for change in prunings)}
    missing = {hash_ for hash_ in (head, noted) if hash_}
    last: str | None = None
    events = before = 0
    with connection.execute(_SELECT_EVENTS, key, execution_options={"yield_per": _ROWS_A_CHUNK}) as rows:
        for row in rows:
            if last is None and row.hash is None:
                before += 1
                continue
            may_begin = last is None and (row.id <= pruned or row.previous_hash in beginnings)
            if why := _problem(row, last=row.previous_hash if may_begin else last):
                return Verification(events, before, last, Break(row.id, why))
            missing.discard(last := row.hash)
            events += 1
            progress(1)
    if missing:
        what = "the end of the chain is missing" if head in missing else "the noted hash is not in the chain"
        return Verification(events, before, last, Break(None, what))
    return Verification(events, before, last, None)


def _problem(row: Row, *, last: str | None) -> str | None:
    if row.hash is None:
        return "has no hash: it was added in SQL, or while AUDIT_HASH_CHAIN was not set"
    if row.hash != digest(row.previous_hash, row._mapping):
        return "was changed"
    if row.previous_hash != last:
        return (
            "does not follow the previous event: events in between are missing, or were changed and hashed again"
        )
    return None
