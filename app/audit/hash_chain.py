"""The chain of hashes: each event of a node holds the hash of the one before, so that no change goes unseen.

It finds what was done behind the triggers' back: a row that was changed, left out or put in. It has no key, so who
can write to the database can compute it anew from there on; against that, note the last hash somewhere else now
and then, and have :func:`verify` find it again.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, bindparam, func, select, update

from app.core.timestamps import rfc3339_micro
from app.db.models import AuditEvent, Node
from app.db.nodes import lock_node
from app.db.statement import Row, Statement, parameters

CONTENT = (
    "at", "node_name", "revision", "request_id", "address", "user_agent", "verb", "namespace", "name", "uid",
    "code", "change", "pruned_through",
)  # fmt: skip
"""The columns that a hash is of, in this order."""
FIRST = "0" * 64
"""What the first event of a chain has for the hash of the one before."""

_ROWS_A_CHUNK = 1000

_SET_LAST = Statement(update(Node).where(Node.name == bindparam("of_node")).values(parameters("audit_hash")))
_OF_NODE = AuditEvent.node_name == bindparam("node_name")
_SELECT_HEAD = select(Node.audit_hash).where(Node.name == bindparam("node_name"))
_SELECT_PRUNED = select(func.max(AuditEvent.pruned_through)).where(_OF_NODE)
_SELECT_PRUNINGS = select(AuditEvent.change).where(_OF_NODE, AuditEvent.pruned_through.is_not(None))
_SELECT_EVENTS = (
    select(AuditEvent.id, *(AuditEvent.__table__.c[name] for name in (*CONTENT, "previous_hash", "hash")))
    .where(_OF_NODE)
    .order_by(AuditEvent.id)
)


class Break(NamedTuple):
    """The first event at which a chain does not hold, and why; no ID where it is the end that is missing."""

    id: int | None
    why: str


class Verification(NamedTuple):
    """What came of following a chain.

    Attributes:
        events: so many are in the chain, up to the break where there is one.
        before: so many are older than the chain.
        last_hash: the hash of the last event that holds; worth noting somewhere else.
        broken: where it does not hold; None where it does.
    """

    events: int
    before: int
    last_hash: str | None
    broken: Break | None


def digest(previous_hash: str, content: Mapping[str, Any]) -> str:
    """Hash an event: SHA-256 (hex) of the JSON array of the previous hash and the columns of `CONTENT`.

    The time in it is RFC 3339 with microseconds, in UTC.
    """
    values = [content[name] for name in CONTENT]
    values[0] = rfc3339_micro(values[0])
    return hashlib.sha256(orjson.dumps([previous_hash, *values])).hexdigest()


def last_hash(connection: Connection, node_name: str) -> str:
    """Read the hash of a node's last event, and have every writer of the node wait until the transaction ends."""
    return lock_node(connection, node_name).audit_hash or FIRST


def extend(connection: Connection, content: Mapping[str, Any], *, after: str) -> str:
    """Make an event the last of its node's chain; give its hash.

    Args:
        after: the hash of the last event until now, read by who holds the node's row.
    """
    hash_ = digest(after, content)
    _SET_LAST.run(connection, of_node=content["node_name"], audit_hash=hash_)
    return hash_


def verify(
    connection: Connection,
    node_name: str,
    *,
    noted: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Follow a node's chain from its first event to its last.

    It begins with the first event that has a hash: an older one is from before AUDIT_HASH_CHAIN was set. Where
    events were pruned, it begins where the pruning says that it does.

    Args:
        noted: a hash that was the last one once, and must be found again.
        progress: is called with 1 for each event that holds.
    """
    key = {"node_name": node_name}
    head = connection.scalar(_SELECT_HEAD, key)  # before the events, so that it is among them
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
        what = "the end of the chain is missing" if head in missing else "the hash that was noted is not in it"
        return Verification(events, before, last, Break(None, what))
    return Verification(events, before, last, None)


def _problem(row: Row, *, last: str | None) -> str | None:
    if row.hash is None:
        return "has no hash: it was added by somebody else, or while AUDIT_HASH_CHAIN was not set"
    if row.hash != digest(row.previous_hash, row._mapping):
        return "was changed"
    if row.previous_hash != last:
        return "does not follow the one before: what was between them is missing, or was changed and hashed anew"
    return None
