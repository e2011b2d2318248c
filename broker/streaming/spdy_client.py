"""exec and attach over SPDY: a stream for each of `error`, `stdin`, `stdout`, `stderr` and `resize`.

Versions of the protocol (`k8s.io/cri-streaming/pkg/streaming/remotecommand`): v4 sends the final status as JSON on
the error stream, older ones send the message of a failure as text, and nothing for a success. `resize` came with
v3. The client opens the streams after the upgrade; the session begins when all that it has asked for are there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from broker.streaming.peer import Channel, Data, Event, PeerGone, StreamOptions
from broker.streaming.spdy_connection import Inbox, SpdyConnection, SpdyStream, Wire
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
    """The client of an exec or attach over SPDY: a :class:`~broker.streaming.peer.ClientPeer`.

    Args:
        wire: the connection.
        options: the streams that the client asks for.
        protocol: the version of the protocol.
    """

    def __init__(self, wire: Wire, options: StreamOptions, protocol: str) -> None:
        self._connection = SpdyConnection(wire, self._add)
        self._inbox = Inbox(self._connection)
        self._protocol = protocol
        self._streams: dict[int, SpdyStream] = {}
        self._missing = set(options.to_client() | options.to_provider())
        if not (options.tty and protocol in (_V4, _V3)):
            self._missing.discard(Channel.RESIZE)
        self._complete = asyncio.Event()
        self._resize = b""

    @classmethod
    @asynccontextmanager
    async def accept(
        cls, request: web.Request, options: StreamOptions
    ) -> AsyncIterator[tuple[web.StreamResponse, "SpdyClient"]]:
        """Answer the upgrade, and yield the response and the client when it has opened its streams.

        Raises:
            web.HTTPException: the request is no valid upgrade.
            PeerGone: the client has disconnected, or has not opened the streams.
        """
        response, wire, protocol = await upgrade(request, PROTOCOLS)
        client = cls(wire, options, protocol)
        async with client._connection:
            await client._wait_for_streams()
            yield response, client

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

    def _add(self, stream: SpdyStream) -> bool:
        """Accept a stream that was asked for, once."""
        channel = _CHANNELS.get(stream.headers.get("streamtype", ""))
        if channel not in self._missing:
            return False
        self._missing.remove(channel)
        self._streams[channel] = stream
        stream.channel = channel
        if channel in (Channel.STDIN, Channel.RESIZE):
            stream.inbox = self._inbox
        if not self._missing:
            self._complete.set()
        return True

    async def _wait_for_streams(self) -> None:
        """Wait until the client has opened all streams.

        Raises:
            PeerGone: it has disconnected, or not opened them in time; the connection is ended then.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (self._complete, self._connection.gone)]
        try:
            await asyncio.wait(waits, timeout=OPEN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._complete.is_set():
            self.abort()
            raise PeerGone("the client has not opened its streams")
