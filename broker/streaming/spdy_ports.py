"""Port-forward over SPDY: many connections to the pod in one SPDY connection.

For each connection the client opens two streams with the same `requestid`: `error`, then `data`, both with the
header `port`. Bytes go both ways on `data`, each direction with its own end. A failure is text on `error`. It is
that of one connection: the others, and those that the client opens later, continue. Clients without `requestid`
open `data` right after `error`, so its number is greater by two.

Source: `k8s.io/cri-streaming/pkg/streaming/portforward`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from broker.streaming.peer import Channel, Event, PeerGone
from broker.streaming.spdy_connection import Inbox, SpdyConnection, SpdyStream, Wire
from broker.streaming.spdy_upgrade import is_tunnel, open_tunnel, upgrade
from broker.streaming.status import Status
from broker.streaming.websocket_ports import Forward, parse_port

PROTOCOLS = ("portforward.k8s.io",)
PAIR_TIMEOUT = 30.0
"""Seconds between the two streams of a connection."""
STALL_TIMEOUT = 20.0
"""Seconds without a byte that a pod takes, while other connections wait behind it. It is less than the 30 seconds
for which a client waits for the answer to a new stream."""


async def serve_spdy_ports(request: web.Request, forward: Forward, *, idle_timeout: float) -> web.StreamResponse:
    """Answer the upgrade, and serve the connections of the client until it has gone.

    Args:
        request: the request.
        forward: serves one connection.
        idle_timeout: seconds without a connection after which the client is disconnected, at the latest after
            twice as many.

    Raises:
        web.HTTPException: the request is no valid upgrade.
        PeerGone: the client has disconnected before the upgrade.
    """
    if not is_tunnel(request):
        response, wire, _ = await upgrade(request, PROTOCOLS)
        await _Forwards(wire, forward).serve(idle_timeout)
        return response
    ws, wire = await open_tunnel(request)
    await _Forwards(wire, forward).serve(idle_timeout)
    await ws.close()
    return ws


class _Forwards:
    """The forwarded connections of one client."""

    def __init__(self, wire: Wire, forward: Forward) -> None:
        self._connection = SpdyConnection(wire, self._add, stall_timeout=STALL_TIMEOUT)
        self._forward = forward
        self._incomplete: dict[str, ForwardedConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._used = False

    async def serve(self, idle_timeout: float) -> None:
        """Serve until the client has gone, or has opened no connection for one to two timeouts."""
        async with self._connection:
            try:
                while not self._connection.gone.is_set():
                    self._used = False
                    with suppress(TimeoutError):
                        async with asyncio.timeout(idle_timeout):
                            await self._connection.gone.wait()
                    if not self._tasks and not self._used:
                        return
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, stream: SpdyStream) -> bool:
        kind, port = stream.headers.get("streamtype"), parse_port(stream.headers.get("port", ""))
        if kind not in ("error", "data") or not port:
            return False
        first = stream.stream_id if kind == "error" else stream.stream_id - 2
        request_id = stream.headers.get("requestid") or str(first)
        forwarded = self._incomplete.get(request_id)
        if forwarded is None:
            forwarded = self._incomplete[request_id] = ForwardedConnection(self._connection)
            task = asyncio.create_task(self._serve(forwarded))
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, request_id, forwarded))
            forwarded.cancel = partial(self._cancel, request_id, forwarded, task)
            self._used = True
        if not forwarded.add(kind, port, stream):
            return False
        if forwarded.complete.is_set():
            del self._incomplete[request_id]  # a number may be used again
        return True

    async def _serve(self, forwarded: "ForwardedConnection") -> None:
        try:
            async with asyncio.timeout(PAIR_TIMEOUT):
                await forwarded.complete.wait()
        except TimeoutError:
            await forwarded.fail("timed out waiting for streams")
        else:
            await self._forward(forwarded.port, forwarded)

    def _cancel(self, request_id: str, forwarded: "ForwardedConnection", task: asyncio.Task[None]) -> None:
        """End a connection whose number may be used again at once."""
        if self._incomplete.get(request_id) is forwarded:
            del self._incomplete[request_id]
        task.cancel()

    def _end(self, request_id: str, forwarded: "ForwardedConnection", task: asyncio.Task[None]) -> None:
        """Close what is still open, also of a connection that was cancelled before its task had begun."""
        self._tasks.discard(task)
        self._cancel(request_id, forwarded, task)
        forwarded.abort()


class ForwardedConnection:
    """One connection of a port-forward, of two streams: a :class:`~broker.streaming.peer.ClientPeer`.

    Attributes:
        port: the port, of the stream `data`.
        complete: both streams are open.
        cancel: is called when the client resets the stream `data`, or either one while the other is missing.
    """

    def __init__(self, connection: SpdyConnection) -> None:
        self.port = 0
        self.complete = asyncio.Event()
        self.cancel: Callable[[], object] = lambda: None
        self._inbox = Inbox(connection)
        self._streams: dict[str, SpdyStream] = {}

    def add(self, kind: str, port: int, stream: SpdyStream) -> bool:
        """Accept a stream, unless there is one of its kind."""
        if kind in self._streams:
            return False
        self._streams[kind] = stream
        stream.on_reset = partial(self._on_reset, kind)
        if kind == "data":
            self.port = port
            stream.inbox, stream.channel = self._inbox, Channel.STDIN
        if len(self._streams) == 2:
            self.complete.set()
        return True

    def _on_reset(self, kind: str) -> None:
        if kind == "data" or not self.complete.is_set():
            self.cancel()

    async def receive(self) -> Event:
        """Return the next event."""
        return await self._inbox.get()

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes of the pod."""
        if channel == Channel.STDOUT:
            await self._streams["data"].send(payload)

    async def close_channel(self, channel: int) -> None:
        """Send that the pod sends no more."""
        if channel == Channel.STDOUT:
            await self._streams["data"].send(b"", fin=True)

    async def finish(self, status: Status) -> None:
        """Send the text of a failure, or the end of both streams."""
        if not status.success:
            await self.fail(f"error forwarding port {self.port}: {status.message}")
            return
        with suppress(PeerGone):
            for stream in self._streams.values():
                await stream.send(b"", fin=True)

    async def fail(self, message: str) -> None:
        """Send the text of a failure, and close both streams."""
        with suppress(PeerGone):
            if error := self._streams.get("error"):
                await error.send(message.encode(), fin=True)
        self.abort()

    def abort(self) -> None:
        """Close both directions of what is still open; other connections continue."""
        self._inbox.close()
        for stream in self._streams.values():
            stream.reset()
