"""exec and attach over SPDY: a stream for each of `error`, `stdin`, `stdout`, `stderr` and `resize`.

Versions of the protocol (`k8s.io/cri-streaming/pkg/streaming/remotecommand`): v4 sends the final status as JSON on
the error stream, older ones send the message of a failure as text, and nothing for a success. `resize` came with
v3. The client opens the streams after the upgrade; the session begins when all that it has asked for are there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from broker.streaming.peer import Channel, Data, Event, PeerGone, Requested
from broker.streaming.spdy_connection import Inbox, SpdyConnection, SpdyStream
from broker.streaming.spdy_upgrade import upgrade
from broker.streaming.status import Status

_V4, _V3 = "v4.channel.k8s.io", "v3.channel.k8s.io"
PROTOCOLS = (_V4, _V3, "v2.channel.k8s.io", "channel.k8s.io")
OPEN_TIMEOUT = 30.0
"""Seconds for the client to open the streams."""
CLOSE_TIMEOUT = 10.0
"""Seconds for the client to end the connection, after all bytes were sent. It is the client's part: it has read
everything then, and the end of a connection can destroy bytes that are unread."""
_MAX_RESIZE = 1024
_CHANNELS = {
    "error": Channel.STATUS,
    "stdin": Channel.STDIN,
    "stdout": Channel.STDOUT,
    "stderr": Channel.STDERR,
    "resize": Channel.RESIZE,
}


class SpdyClient:
    """The client of an exec or attach over SPDY: a :class:`~broker.streaming.peer.ClientPeer`."""

    def __init__(self, connection: SpdyConnection, streams: "_Streams", protocol: str) -> None:
        self._connection = connection
        self._streams = streams.opened
        self._inbox = streams.inbox
        self._protocol = protocol
        self._resize = b""

    @classmethod
    @asynccontextmanager
    async def accept(
        cls, request: web.Request, requested: Requested
    ) -> AsyncIterator[tuple[web.StreamResponse, "SpdyClient"]]:
        """Answer the upgrade, and yield the response and the client when it has opened its streams.

        Raises:
            web.HTTPException: the request is no valid upgrade.
            PeerGone: the client has disconnected, or has not opened the streams.
        """
        response, wire, protocol = await upgrade(request, PROTOCOLS)
        streams = _Streams(_wanted(requested, protocol))
        async with SpdyConnection(wire, streams.add) as connection:
            streams.inbox = Inbox(connection)
            await streams.wait(connection)
            yield response, cls(connection, streams, protocol)

    async def receive(self) -> Event:
        """Return the next event; each change of the terminal's size is one."""
        while True:
            event = await self._inbox.get()
            if event.channel != Channel.RESIZE:
                return event
            if isinstance(event, Data) and (size := self._next_size(event.payload)):
                return Data(Channel.RESIZE, size)

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes on a channel that was asked for."""
        if channel in (Channel.STDOUT, Channel.STDERR) and channel in self._streams:
            await self._streams[channel].send(payload)

    async def close_channel(self, channel: int) -> None:
        """Send that there is no more output."""
        if channel in (Channel.STDOUT, Channel.STDERR) and channel in self._streams:
            await self._streams[channel].send(b"", fin=True)

    async def finish(self, status: Status) -> None:
        """Send the final status, then the end of each stream; wait for the client to end the connection."""
        self._inbox.close()  # input that no command reads must not hide the end of the connection
        text = b"" if status.success else status.message.encode()
        with suppress(PeerGone):
            await self._streams[Channel.STATUS].send(status.raw if self._protocol == _V4 else text)
            for stream in self._streams.values():
                await stream.send(b"", fin=True)
            await self._connection.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._connection.gone.wait()

    def abort(self) -> None:
        """End the connection at once."""
        self._connection.abort()

    def _next_size(self, payload: bytes) -> bytes:
        """Return the last complete object of the resize stream: objects of JSON, cut and joined anywhere."""
        *complete, rest = (self._resize + payload).split(b"}")
        self._resize = rest[-_MAX_RESIZE:]
        return complete[-1].strip() + b"}" if complete else b""


class _Streams:
    """The streams that the client opens.

    Args:
        wanted: the channels that it has asked for.
    """

    inbox: Inbox

    def __init__(self, wanted: frozenset[Channel]) -> None:
        self.opened: dict[int, SpdyStream] = {}
        self._missing = set(wanted)
        self._complete = asyncio.Event()

    def add(self, stream: SpdyStream) -> bool:
        """Accept a stream that was asked for, once."""
        channel = _CHANNELS.get(stream.headers.get("streamtype", ""))
        if channel not in self._missing:
            return False
        self._missing.remove(channel)
        self.opened[channel] = stream
        stream.channel = channel
        if channel in (Channel.STDIN, Channel.RESIZE):
            stream.inbox = self.inbox
        if not self._missing:
            self._complete.set()
        return True

    async def wait(self, connection: SpdyConnection) -> None:
        """Wait until the client has opened all streams.

        Raises:
            PeerGone: it has disconnected, or not opened them in time; the connection is ended then.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (self._complete, connection.gone)]
        try:
            await asyncio.wait(waits, timeout=OPEN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._complete.is_set():
            connection.abort()
            raise PeerGone("the client has not opened its streams")


def _wanted(requested: Requested, protocol: str) -> frozenset[Channel]:
    channels = {
        Channel.STATUS: True,
        Channel.STDIN: requested.stdin,
        Channel.STDOUT: requested.stdout,
        Channel.STDERR: requested.stderr,
        Channel.RESIZE: requested.tty and protocol in (_V4, _V3),
    }
    return frozenset(channel for channel, wanted in channels.items() if wanted)
