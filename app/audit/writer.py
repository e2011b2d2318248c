"""Insert audit events, in the transaction of the change that they record."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
import orjson
from sqlalchemy import Connection, insert

from app.audit import hash_chain as chain
from app.core import metrics
from app.db.models import AuditEvent
from app.db.statement import Statement, parameters
from app.kubernetes.pod import PodReference

Verb = Literal["create", "update", "delete", "exec", "attach", "port-forward", "mount", "scenario", "prune"]

_INSERT = Statement(
    insert(AuditEvent).inline().values(parameters(*chain.CONTENT, "node_name", "previous_hash", "hash"))
)
_LONGEST_USER_AGENT = 256


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The client of a request. The contract has no user names, so these are its address and user agent."""

    request_id: str
    address: str
    user_agent: str


class Outcome(NamedTuple):
    """The end of a request that changes no pod.

    Attributes:
        pod: the pod of the request; None where it names none.
        code: the HTTP status code of the response.
        change: as that of an :class:`Event`.
    """

    pod: PodReference | None
    code: int
    change: dict[str, Any]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A write request and its outcome, or a pruning.

    Attributes:
        pod: the pod of the request; None where the request names none.
        code: the HTTP status code of the response.
        revision: the fleet's revision after the request; None where it was refused.
        change: the changed fields, the end of a stream, the versions of volumes, or the reason of a refusal. It
            contains no value from a pod except those that `app.audit.diff` records.
        pruned_through: for a pruning, the ID up to which events of the fleet may be deleted.
    """

    at: datetime
    fleet: str
    caller: Caller
    verb: Verb
    pod: PodReference | None
    code: int
    revision: int | None = None
    change: dict[str, Any] | None = None
    pruned_through: int | None = None


def insert_events(connection: Connection, events: Sequence[Event], *, after: str | None) -> str | None:
    """Insert events of one fleet in the caller's transaction, so that they are committed with the changes.

    Args:
        after: the hash of the previous event, read while the fleet is locked; None without AUDIT_HASH_CHAIN.

    Returns:
        The hash of the last event; None without AUDIT_HASH_CHAIN.
    """
    rows = []
    for event in events:
        row = _content(event)
        hash_ = None if after is None else chain.digest(after, row)
        rows.append({**row, "previous_hash": after, "hash": hash_})
        after = hash_
    _INSERT.run_all(connection, rows)
    if after is not None:
        chain.set_last(connection, events[0].fleet, after)
    for (verb, code), count in Counter((event.verb, event.code) for event in events).items():
        metrics.audit_event(verb, code).inc(count)
    return after


def append_events(connection: Connection, events: Sequence[Event], *, chained: bool) -> None:
    """Insert events of one fleet as :func:`insert_events`, after the last one.

    Args:
        chained: whether AUDIT_HASH_CHAIN is set; the fleet is locked then.
    """
    insert_events(connection, events, after=chain.last_hash(connection, events[0].fleet) if chained else None)


def _content(event: Event) -> dict[str, Any]:
    """Return the columns of an event that are hashed."""
    pod = event.pod
    return {
        "at": event.at,
        "fleet": event.fleet,
        "node_name": pod.node_name if pod and pod.node_name != event.fleet else None,
        "revision": event.revision,
        "request_id": event.caller.request_id,
        "address": event.caller.address,
        "user_agent": event.caller.user_agent[:_LONGEST_USER_AGENT],
        "verb": event.verb,
        "namespace": pod and pod.namespace,
        "name": pod and pod.name,
        "uid": pod and pod.uid,
        "code": event.code,
        "change": orjson.dumps(event.change).decode() if event.change else None,
        "pruned_through": event.pruned_through,
    }
