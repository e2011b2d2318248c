"""Events on pods, as shown by `kubectl describe`: best effort, written one after another in the background.

A repeated event is counted in the existing Event object, as in `client-go/tools/record`, and written at most once
a minute: the repetitions of a minute wait for its end, and are written by one request. So an error that repeats
for every pod of a node does not load the API server.

Events are less urgent than statuses: they wait while statuses are to be written. Of those that wait, each type has
a limit; the oldest are dropped, and counted. So a thousand pods that start do not displace the warning about one
that cannot.

An event that the API server refuses is dropped. Without an answer, or while the server is overloaded, it is sent
again for as long as client-go tries, two minutes, and those behind it wait.

Source: `recordEvent` in `client-go/tools/record/event.go`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, NamedTuple
from uuid import uuid4

import structlog

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.kubernetes.errors import AlreadyExists, ApiError, NotFound
from broker.kubernetes.objects import to_time
from broker.nodes import node_name
from broker.types import Object

COMPONENT = "virtual-kubelet-web"
_MESSAGE_LIMIT = 1024
_CLUSTER_NAMESPACE = "default"
"""Namespace of the events of objects without one, such as the node."""
_WAITING_LIMIT = 2000
"""Number of events of one type that may wait."""
_PATIENCE, _INTERVAL = 1.0, 0.05
"""Longest time in seconds for which statuses delay the next event, and the time between two checks. While statuses
are written without a break, one event a second is written."""
_KNOWN_LIMIT = 4096
_WRITE_INTERVAL = timedelta(minutes=1)
"""Least time between two writes of the same event."""
_RETRIED_FOR = timedelta(minutes=2)
_SHORTEST_DELAY, _LONGEST_DELAY = 0.1, 10.0
"""Seconds between two attempts at the same event."""

log = structlog.get_logger()

Kind = Literal["Normal", "Warning"]


class _EventKey(NamedTuple):
    """The fields in which two repetitions of an event are equal."""

    involved: str
    node: str
    namespace: str
    name: str
    uid: str
    field_path: str
    kind: Kind
    reason: str
    message: str


@dataclass(slots=True)
class _WrittenEvent:
    """An Event object: its name, its count, and the time of its last write."""

    name: str
    count: int
    last_write: datetime


class EventRecorder:
    """Records events. :meth:`record` returns at once; :meth:`run` writes the events.

    Args:
        dependencies: of the broker.
        is_busy: returns whether statuses are to be written, which come first.
        on_drop: is called with the type of each event that is dropped because too many wait.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        on_drop: Callable[[Kind], None] = lambda _: None,
    ) -> None:
        self._client = dependencies.client
        self._fleet = dependencies.settings.node_name
        self._clock = dependencies.clock
        self._is_busy = is_busy
        self._on_drop = on_drop
        self._waiting: dict[Kind, OrderedDict[_EventKey, list[datetime]]] = {
            "Warning": OrderedDict(),
            "Normal": OrderedDict(),
        }
        self._repeated: OrderedDict[_EventKey, list[datetime]] = OrderedDict()
        self._wake = asyncio.Event()
        self._written: OrderedDict[_EventKey, _WrittenEvent] = OrderedDict()

    def record(self, involved: Object, kind: Kind, reason: str, message: str, *, field_path: str = "") -> None:
        """Record an event.

        Args:
            involved: the involved object: a pod, or one with its `kind`.
            kind: `type` of the event.
            reason: `reason` of the event, in CamelCase, such as `ProviderCreateFailed`.
            message: `message` of the event; may contain names of fields and objects, and none of their values.
            field_path: the part of the object that is involved, such as `spec.containers{web}`; empty: all of it.
        """
        metadata = involved["metadata"]
        key = _EventKey(
            involved.get("kind", "Pod"),
            self._node_of(involved),
            metadata.get("namespace", ""),
            metadata["name"],
            metadata.get("uid", ""),
            field_path,
            kind,
            reason,
            message[:_MESSAGE_LIMIT],
        )
        now = self._clock()
        written = self._written.get(key)
        if written is not None and now - written.last_write < _WRITE_INTERVAL:
            self._repeated.setdefault(key, []).append(now)
        else:
            self._add(key, [*self._repeated.pop(key, ()), now])
        self._wake.set()

    def _add(self, key: _EventKey, times: list[datetime]) -> None:
        """Add an event to those that wait to be written."""
        waiting = self._waiting[key.kind]
        waiting.setdefault(key, []).extend(times)
        if len(waiting) > _WAITING_LIMIT:
            waiting.popitem(last=False)
            self._on_drop(key.kind)

    def _node_of(self, involved: Object) -> str:
        if involved.get("kind") == "Node":
            return str(involved["metadata"]["name"])
        return node_name(involved) or self._fleet

    async def run(self) -> None:
        """Write the recorded events, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_repeated()):
                    await self._wake.wait()
            self._wake.clear()
            while self._seconds_to_repeated() == 0:
                self._add(*self._repeated.popitem(last=False))
            while any(self._waiting.values()):
                await self._wait_for_statuses()
                key, times = next(filter(None, self._waiting.values())).popitem(last=False)
                try:
                    await self._write(key, times)
                except ApiError as exc:
                    log.info("event not written", reason=key.reason, pod=key.name, error=str(exc))
                    if isinstance(exc, NotFound):
                        self._drop_events_in(key.namespace)

    def _drop_events_in(self, namespace: str) -> None:
        """Drop the events of a namespace that is gone: the API server takes 50 ms to refuse each of them."""
        for events in (*self._waiting.values(), self._repeated):
            for key in [key for key in events if key.namespace == namespace]:
                del events[key]

    def _seconds_to_repeated(self) -> float | None:
        """Return the seconds until the first repetitions are to be written; None where there are none."""
        for times in self._repeated.values():
            return max((times[0] + _WRITE_INTERVAL - self._clock()).total_seconds(), 0)
        return None

    async def _wait_for_statuses(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while self._is_busy() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_INTERVAL)

    async def _write(self, key: _EventKey, times: list[datetime]) -> None:
        path = f"/api/v1/namespaces/{key.namespace or _CLUSTER_NAMESPACE}/events"
        if written := self._written.get(key):
            written.count, written.last_write = written.count + len(times), self._clock()
            change = {"count": written.count, "lastTimestamp": to_time(times[-1])}
            try:
                await self._send(partial(self._client.patch, f"{path}/{written.name}", change), times[-1])
            except NotFound:  # the API server deletes events after an hour
                del self._written[key]
            else:
                return
        written = self._written[key] = _WrittenEvent(f"{key.name}.{uuid4().hex[:16]}", len(times), self._clock())
        if len(self._written) > _KNOWN_LIMIT:
            self._written.popitem(last=False)
        try:
            await self._send(partial(self._client.create, path, self._event(key, written, times)), times[-1])
        except AlreadyExists:  # the answer to an earlier attempt was lost
            return
        except ApiError:
            self._written.pop(key, None)
            raise

    async def _send(self, request: Callable[[], Awaitable[object]], recorded: datetime) -> None:
        """Send a request, and again with backoff while it may succeed and the event is not too old.

        Args:
            request: sends it; carried out twice, it has the effect of one.
            recorded: time of the event.

        Raises:
            ApiError: of the last attempt.
        """
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            try:
                await request()
            except ApiError as exc:
                if not exc.is_temporary or self._clock() - recorded >= _RETRIED_FOR:
                    raise
                await asyncio.sleep(backoff.after(exc))
            else:
                return

    def _event(self, key: _EventKey, recorded: _WrittenEvent, times: list[datetime]) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": recorded.name, "namespace": key.namespace or _CLUSTER_NAMESPACE},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": key.involved,
                **({"namespace": key.namespace} if key.namespace else {}),
                "name": key.name,
                "uid": key.uid,
                **({"fieldPath": key.field_path} if key.field_path else {}),
            },
            "type": key.kind,
            "reason": key.reason,
            "message": key.message,
            "source": {"component": COMPONENT, "host": key.node},
            "reportingComponent": COMPONENT,
            "reportingInstance": key.node,
            "firstTimestamp": to_time(times[0]),
            "lastTimestamp": to_time(times[-1]),
            "eventTime": None,
            "count": recorded.count,
        }
