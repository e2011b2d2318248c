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

from aiohttp import web

from broker.streaming.peer import Channel, Event, PeerGone
from broker.streaming.spdy_connection import Inbox, SpdyConnection, SpdyStream, Wire
from broker.streaming.spdy_upgrade import is_tunnel, open_tunnel, upgrade
from broker.streaming.status import Status
from broker.streaming.websocket_ports import Forward

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
        idle_timeout: seconds without a connection after which the client is disconnected.

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
        self._pairs: dict[str, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, idle_timeout: float) -> None:
        """Serve until the client has gone."""
        async with self._connection:
            try:
                while not self._connection.gone.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(idle_timeout):
                            await self._connection.gone.wait()
                    if not self._tasks:
                        return
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, stream: SpdyStream) -> bool:
        kind, port = stream.headers.get("streamtype"), stream.headers.get("port", "")
        if kind not in ("error", "data") or not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
            return False
        first = stream.stream_id if kind == "error" else stream.stream_id - 2
        request_id = stream.headers.get("requestid") or str(first)
        pair = self._pairs.get(request_id)
        if pair is None:
            pair = self._pairs[request_id] = _Pair(self._connection)
            task = asyncio.create_task(self._serve(request_id, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            pair.cancel = task.cancel
        return pair.add(kind, stream)

    async def _serve(self, request_id: str, pair: "_Pair") -> None:
        try:
            async with asyncio.timeout(PAIR_TIMEOUT):
                await pair.complete.wait()
        except TimeoutError:
            await pair.fail("timed out waiting for streams")
            return
        finally:
            del self._pairs[request_id]  # a number may be used again
        try:
            await self._forward(pair.port, ForwardedConnection(pair))
        finally:
            pair.close()


class _Pair:
    """The two streams of a forwarded connection."""

    def __init__(self, connection: SpdyConnection) -> None:
        self.inbox = Inbox(connection)
        self.complete = asyncio.Event()
        self._streams: dict[str, SpdyStream] = {}
        self.cancel: Callable[[], object] = lambda: None

    @property
    def port(self) -> int:
        """The port, of the stream `data`."""
        return int(self.data.headers["port"])

    @property
    def data(self) -> SpdyStream:
        """The stream of the bytes."""
        return self._streams["data"]

    def add(self, kind: str, stream: SpdyStream) -> bool:
        """Accept a stream, unless there is one of its kind."""
        if kind in self._streams:
            return False
        self._streams[kind] = stream
        if kind == "data":
            stream.inbox, stream.channel = self.inbox, Channel.STDIN
            stream.on_reset = self.cancel
        if len(self._streams) == 2:
            self.complete.set()
        return True

    async def fail(self, message: str) -> None:
        """Send the text of a failure, and close both streams."""
        with suppress(PeerGone):
            if error := self._streams.get("error"):
                await error.send(message.encode(), fin=True)
        self.close()

    async def end(self) -> None:
        """Send the end of both streams."""
        with suppress(PeerGone):
            for stream in self._streams.values():
                await stream.send(b"", fin=True)

    def close(self) -> None:
        """Close both directions of what is still open."""
        self.inbox.close()
        for stream in self._streams.values():
            stream.reset()


class ForwardedConnection:
    """One connection of a port-forward: a :class:`~broker.streaming.peer.ClientPeer`."""

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair

    async def receive(self) -> Event:
        """Return the next event."""
        return await self._pair.inbox.get()

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes of the pod."""
        if channel == Channel.STDOUT:
            await self._pair.data.send(payload)

    async def close_channel(self, channel: int) -> None:
        """Send that the pod sends no more."""
        if channel == Channel.STDOUT:
            await self._pair.data.send(b"", fin=True)

    async def finish(self, status: Status) -> None:
        """Send the text of a failure, or the end of both streams."""
        if not status.success:
            await self._pair.fail(f"error forwarding port {self._pair.port}: {status.message}")
        await self._pair.end()

    def abort(self) -> None:
        """Close both streams; other connections continue."""
        self._pair.close()
