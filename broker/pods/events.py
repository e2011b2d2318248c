"""Events on pods, as `kubectl describe` shows them: best effort, after everything that matters more.

What happens again is counted in the event that there is, as `client-go/tools/record` does it, and written now and
then: what fails over and over for every pod of a node is no reason to keep the API server busy.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import uuid4

import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, NotFound
from broker.kubernetes.objects import Object, to_time

COMPONENT = "virtual-kubelet-web"
_MESSAGE_LIMIT = 1024
_WAITING_LIMIT = 2000
_KNOWN_LIMIT = 4096
_PAUSE = timedelta(minutes=1)
"""How long at least between two writes of the same event."""

log = structlog.get_logger()

Kind = Literal["Normal", "Warning"]


class _Happening(NamedTuple):
    """What makes two events the same one."""

    namespace: str
    name: str
    uid: str
    kind: Kind
    reason: str
    message: str


@dataclass(slots=True)
class _Recorded:
    name: str
    times: int
    written: datetime


class Events:
    """Records events. Recording returns at once; :meth:`run` writes them, one after another.

    Args:
        client: writes them.
        node_name: where they come from.
        clock: gives the time.
    """

    def __init__(self, client: Client, *, node_name: str, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._waiting: OrderedDict[_Happening, list[datetime]] = OrderedDict()
        self._wake = asyncio.Event()
        self._known: OrderedDict[_Happening, _Recorded] = OrderedDict()

    def record(self, pod: Object, kind: Kind, reason: str, message: str) -> None:
        """Have an event written.

        Args:
            pod: what it is about.
            kind: its type.
            reason: one word for machines, such as `ProviderCreateFailed`.
            message: a sentence; it names fields and objects and has no value of any.
        """
        metadata = pod["metadata"]
        happening = _Happening(
            metadata["namespace"],
            metadata["name"],
            metadata.get("uid", ""),
            kind,
            reason,
            message[:_MESSAGE_LIMIT],
        )
        now = self._clock()
        known = self._known.get(happening)
        if known is not None and now - known.written < _PAUSE:
            known.times += 1
            return
        self._waiting.setdefault(happening, []).append(now)
        if len(self._waiting) > _WAITING_LIMIT:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def run(self) -> None:
        """Write what is recorded, until cancelled. An event that cannot be written is dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                happening, times = self._waiting.popitem(last=False)
                try:
                    await self._write(happening, times)
                except ApiError as exc:
                    log.info(
                        "an event is not written", reason=happening.reason, pod=happening.name, error=str(exc)
                    )

    async def _write(self, happening: _Happening, times: list[datetime]) -> None:
        path = f"/api/v1/namespaces/{happening.namespace}/events"
        if known := self._known.get(happening):
            known.times, known.written = known.times + len(times), times[-1]
            try:
                change = {"count": known.times, "lastTimestamp": to_time(times[-1])}
                await self._client.patch(f"{path}/{known.name}", change)
            except NotFound:  # events are forgotten after an hour
                del self._known[happening]
            else:
                return
        known = self._known[happening] = _Recorded(f"{happening.name}.{uuid4().hex[:16]}", len(times), times[-1])
        if len(self._known) > _KNOWN_LIMIT:
            self._known.popitem(last=False)
        try:
            await self._client.create(path, self._event(happening, known, times))
        except ApiError:
            self._known.pop(happening, None)
            raise

    def _event(self, happening: _Happening, recorded: _Recorded, times: list[datetime]) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": recorded.name, "namespace": happening.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": happening.namespace,
                "name": happening.name,
                "uid": happening.uid,
            },
            "type": happening.kind,
            "reason": happening.reason,
            "message": happening.message,
            "source": {"component": COMPONENT, "host": self._node_name},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node_name,
            "firstTimestamp": to_time(times[0]),
            "lastTimestamp": to_time(times[-1]),
            "eventTime": None,
            "count": recorded.times,
        }
