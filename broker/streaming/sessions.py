"""The sessions in progress: their number is limited, idle ones are ended, and each is counted and logged."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import NamedTuple, Protocol

import structlog

from broker.errors import BrokerError
from broker.streaming.connection import has_disconnected
from broker.streaming.peer import Channel, ClientPeer, Data, Event, ProviderPeer
from broker.streaming.relay import relay
from broker.streaming.status import Status

log = structlog.get_logger()

SWEEP_INTERVAL = 5.0
"""Seconds between two checks of every session."""
STOP_TIMEOUT = 1.0
"""Seconds in which the clients are sent a Failure when the broker stops."""
_STOPPED = Status.failure("the node is shutting down", HTTPStatus.SERVICE_UNAVAILABLE)


class TooManySessions(BrokerError):
    """The limit of sessions is reached."""


class Target(NamedTuple):
    """The kind of a session (`exec`, `attach` or `portForward`), and the container or port of a pod."""

    kind: str
    namespace: str
    pod: str
    part: str


class Counters(Protocol):
    """Metrics of sessions."""

    def stream_opened(self, kind: str) -> None:
        """Count a session that begins."""
        ...

    def stream_ended(self, kind: str, outcome: str) -> None:
        """Count a session that has ended: `success`, `failure` or `disconnected`."""
        ...

    def stream_bytes(self, kind: str, direction: str, size: int) -> None:
        """Count bytes: `in` from the client, `out` to the client."""
        ...


class Session:
    """A place among the sessions.

    Attributes:
        target: kind and container, or port, of the session.
        ended: its result ends the session with this status.
    """

    def __init__(self, target: Target, counters: Counters) -> None:
        self.target = target
        self.ended: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._counters = counters
        self._client: ClientPeer | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._bytes = {"in": 0, "out": 0}
        self._active = time.monotonic()

    async def relay(
        self, client: ClientPeer, provider: ProviderPeer, transport: asyncio.BaseTransport | None
    ) -> None:
        """Carry bytes until the session ends; see :func:`~broker.streaming.relay.relay`.

        Args:
            client: the end that asked for the session.
            provider: the end at which the command runs.
            transport: the client's connection.
        """
        began, outcome, code = time.monotonic(), "disconnected", None

        def finished(status: Status) -> None:
            nonlocal outcome, code
            outcome, code = "success" if status.success else "failure", status.exit_code

        self._client, self._transport = client, transport
        self._counters.stream_opened(self.target.kind)
        try:
            await relay(
                client,
                provider,
                ended=self.ended,
                sent=lambda event: self._count("in", event),
                received=lambda event: self._count("out", event),
                finished=finished,
            )
        finally:
            self._counters.stream_ended(self.target.kind, outcome)
            log.info(
                "session ended",
                kind=self.target.kind,
                pod=f"{self.target.namespace}/{self.target.pod}",
                target=self.target.part,
                outcome=outcome,
                exit_code=code,
                seconds=round(time.monotonic() - began, 3),
                bytes_in=self._bytes["in"],
                bytes_out=self._bytes["out"],
            )

    def end(self, status: Status) -> None:
        """End the session with a status; one that is ending already is aborted."""
        if not self.ended.done() and self._client:
            self.ended.set_result(status)
        elif self._client:
            self._client.abort()

    def sweep(self, idle_timeout: float) -> None:
        """End the session if it is idle, or if its client has disconnected."""
        if self._client and self._transport and has_disconnected(self._transport):
            self._client.abort()
        elif time.monotonic() - self._active > idle_timeout:
            self.end(Status.failure("the session was idle for too long", HTTPStatus.GATEWAY_TIMEOUT))

    def _count(self, direction: str, event: Event) -> None:
        self._active = time.monotonic()
        size = len(event.payload) if isinstance(event, Data) and event.channel != Channel.RESIZE else 0
        self._bytes[direction] += size
        self._counters.stream_bytes(self.target.kind, direction, size)


class Sessions:
    """The sessions of a node.

    Args:
        limit: greatest number of sessions at once.
        idle_timeout: seconds without a byte after which a session is ended.
        counters: metrics of the sessions.
    """

    def __init__(self, *, limit: int, idle_timeout: float, counters: Counters) -> None:
        self._limit = limit
        self.idle_timeout = idle_timeout
        self._counters = counters
        self._sessions: set[Session] = set()
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sessions)

    @contextmanager
    def open(self, target: Target) -> Iterator[Session]:
        """Yield a place for a session.

        Raises:
            TooManySessions: the limit is reached.
        """
        if len(self._sessions) >= self._limit:
            raise TooManySessions(f"the node has {self._limit} sessions, the limit of STREAM_SESSIONS")
        session = Session(target, self._counters)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            self._left.set()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """End idle sessions and those of clients that have disconnected, until cancelled."""
        while True:
            await sleep(min(SWEEP_INTERVAL, self.idle_timeout))
            for session in list(self._sessions):
                session.sweep(self.idle_timeout)

    async def stop(self) -> None:
        """Send a Failure to every client: kubectl takes a lost SPDY connection for a success."""
        for session in list(self._sessions):
            session.end(_STOPPED)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                while self._sessions:
                    self._left = asyncio.Event()
                    await self._left.wait()
