"""The record of every write request: what was asked, by whom, and what came of it."""

from datetime import datetime
from typing import Any, Literal

import msgspec
import orjson
from sqlalchemy import Connection, insert

from app import metrics
from app.lifecycle.manifest import PodReference
from app.models import AuditEvent
from app.statement import Statement, parameters

Verb = Literal["create", "update", "delete"]

_INSERT = Statement(
    insert(AuditEvent).values(
        parameters(
            "at", "node_name", "revision", "request_id", "address", "user_agent", "verb", "namespace", "name",
            "uid", "code", "change",
        )
    )
)  # fmt: skip
_LONGEST_USER_AGENT = 256


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a request, as far as a contract without authentication can tell."""

    request_id: str
    address: str
    user_agent: str


def record(
    connection: Connection,
    *,
    at: datetime,
    node_name: str,
    caller: Caller,
    verb: Verb,
    pod: PodReference | None,
    code: int,
    revision: int | None = None,
    change: dict[str, Any] | None = None,
) -> None:
    """Add an event, in the caller's transaction: the change and its record are there both or neither.

    Args:
        pod: which one is meant; None where the request did not say so.
        code: the HTTP status of the answer.
        revision: the node's revision that the request made; None where it was refused.
        change: what changed, or why not. It must hold no value from inside a pod but an image.
    """
    _INSERT.run(
        connection,
        at=at,
        node_name=node_name,
        revision=revision,
        request_id=caller.request_id,
        address=caller.address,
        user_agent=caller.user_agent[:_LONGEST_USER_AGENT],
        verb=verb,
        namespace=pod and pod.namespace,
        name=pod and pod.name,
        uid=pod and pod.uid,
        code=code,
        change=orjson.dumps(change).decode() if change else None,
    )
    metrics.audit_event(verb, code).inc()
