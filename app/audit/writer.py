"""One event of the audit, added in the transaction of what it tells of."""

from datetime import datetime
from typing import Any, Literal

import msgspec
import orjson
from sqlalchemy import Connection, insert

from app.audit import hash_chain as chain
from app.core import metrics
from app.db.models import AuditEvent
from app.db.statement import Statement, parameters
from app.kubernetes.pod import PodReference

Verb = Literal["create", "update", "delete", "prune"]

_INSERT = Statement(insert(AuditEvent).values(parameters(*chain.CONTENT, "previous_hash", "hash")))
_LONGEST_USER_AGENT = 256


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a request, as far as a contract without authentication can tell."""

    request_id: str
    address: str
    user_agent: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What was done or refused.

    Attributes:
        pod: which one is meant; None where the request did not say so.
        code: the HTTP status of the answer.
        revision: the node's revision that the request made; None where it was refused.
        change: what changed, or why not. It must hold no value from inside a pod but an image.
        pruned_through: of a pruning, the ID up to which events of the node may go.
    """

    at: datetime
    node_name: str
    caller: Caller
    verb: Verb
    pod: PodReference | None
    code: int
    revision: int | None = None
    change: dict[str, Any] | None = None
    pruned_through: int | None = None


def insert_event(connection: Connection, event: Event, *, after: str | None) -> None:
    """Add an event, in the caller's transaction: the change and its record are there both or neither.

    Args:
        after: the hash of the event before it, read by who holds the node's row; None without AUDIT_HASH_CHAIN.
    """
    pod = event.pod
    content = {
        "at": event.at,
        "node_name": event.node_name,
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
    hash_ = None if after is None else chain.extend(connection, content, after=after)
    _INSERT.run(connection, **content, previous_hash=after, hash=hash_)
    metrics.audit_event(event.verb, event.code).inc()
