"""Insert audit events, in the transaction of the change that they record."""

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

Verb = Literal["create", "update", "delete", "exec", "attach", "port-forward", "prune"]

_INSERT = Statement(insert(AuditEvent).values(parameters(*chain.CONTENT, "previous_hash", "hash")))
_LONGEST_USER_AGENT = 256


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The client of a request. The contract has no user names, so these are its address and user agent."""

    request_id: str
    address: str
    user_agent: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A write request and its outcome, or a pruning.

    Attributes:
        pod: the pod of the request; None where the request names none.
        code: the HTTP status code of the response.
        revision: the node's revision after the request; None where it was refused.
        change: the changed fields, the end of a stream, or the reason of a refusal. It contains no value from a
            pod except images.
        pruned_through: for a pruning, the ID up to which events of the node may be deleted.
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


def insert_event(connection: Connection, event: Event, *, after: str | None) -> str | None:
    """Insert an event in the caller's transaction, so that it is committed together with the change.

    Args:
        after: the hash of the previous event, read while the node is locked; None without AUDIT_HASH_CHAIN.

    Returns:
        The hash of the event; None without AUDIT_HASH_CHAIN.
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
    return hash_
