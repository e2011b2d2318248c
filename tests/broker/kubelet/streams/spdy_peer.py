"""A SPDY client of a kubelet API."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlencode, urlsplit

from broker.spdy import (
    Connection,
    DataReceived,
    GoAwayReceived,
    PingReceived,
    ResetStatus,
    Role,
    StreamReplied,
    StreamReset,
)

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")


_CHUNK = 256 << 10
"""Bytes after which a sender waits for the connection: TLS accepts any number at once."""


class Refused(Exception):
    """The upgrade was refused.

    Attributes:
        status: HTTP status.
        head: the header of the answer.
        body: the body of the answer.
    """

    def __init__(self, head: str, body: bytes) -> None:
        super().__init__(head)
        self.status = int(head.split()[1])
        self.head = head
        self.body = body


class Stream:
    """A stream that the client has opened.

    Attributes:
        received: bytes of the kubelet.
        is_finished: the kubelet sends no more.
        is_reset: the kubelet has reset the stream.
        stream_id: its number.
    """

    def __init__(self, peer: "SpdyPeer", stream_id: int) -> None:
        self._peer = peer
        self.stream_id = stream_id
        self.received = bytearray()
        self.is_replied = self.is_finished = self.is_reset = False

    async def send(self, data: bytes, *, fin: bool = False) -> None:
        """Send bytes, until the kubelet resets the stream."""
        for start in range(0, len(data), _CHUNK):
            if self.is_reset:
                return
            await self._peer.write(self._peer.codec.send_data(self.stream_id, data[start : start + _CHUNK]))
        if fin:
            await self._peer.write(self._peer.codec.send_data(self.stream_id, b"", fin=True))

    async def reset(self) -> None:
        """Reset the stream."""
        await self._peer.write(self._peer.codec.reset(self.stream_id, ResetStatus.CANCEL))

    async def replied(self) -> Self:
        """Wait until the kubelet has accepted or reset the stream."""
        await self._peer.until(lambda: self.is_replied or self.is_reset)
        return self

    async def read(self, size: int) -> bytes:
        """Return the next bytes, as many as these."""
        await self._peer.until(lambda: len(self.received) >= size)
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    async def rest(self) -> bytes:
        """Return all bytes up to the end."""
        await self._peer.until(lambda: self.is_finished or self.is_reset)
        return bytes(self.received)


class SpdyPeer:
    """A connection.

    Attributes:
        head: the header of the answer to the upgrade.
        bytes_received: bytes after the header.
        is_closed: the kubelet has ended the connection.
        went_away: the kubelet has sent GOAWAY.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader, self._writer = reader, writer
        self.head = head
        self.codec = Connection(Role.CLIENT)
        self.streams: dict[int, Stream] = {}
        self.bytes_received = 0
        self.is_closed = self.went_away = False
        self._changed = asyncio.Condition()
        self.reading = asyncio.Event()
        self.reading.set()

    async def open(self, headers: Mapping[str, str] | None = None, *, fin: bool = False, **more: str) -> Stream:
        """Open a stream."""
        stream_id, frame = self.codec.open_stream({**(headers or {}), **more}, fin=fin)
        stream = self.streams[stream_id] = Stream(self, stream_id)
        await self.write(frame)
        return stream

    async def open_all(self, *kinds: str) -> list[Stream]:
        """Open streams of these types, and wait until they are accepted."""
        return [await (await self.open(streamtype=kind)).replied() for kind in kinds]

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """End the connection at once."""
        self._writer.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, or the kubelet has ended the connection."""
        async with self._changed, asyncio.timeout(30):
            await self._changed.wait_for(lambda: condition() or self.is_closed)
        assert condition(), "the kubelet has ended the connection"

    async def closed(self) -> None:
        """Wait until the kubelet has ended the connection."""
        await self.until(lambda: self.is_closed)

    async def run(self) -> None:
        """Read until the kubelet ends the connection."""
        try:
            while data := await self._reader.read(1 << 16):
                await self.reading.wait()
                self.bytes_received += len(data)
                for event in self.codec.receive(data):
                    self._handle(event)
                await self._notify()
        except ConnectionError:
            pass
        self.is_closed = True
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _handle(self, event: object) -> None:
        match event:
            case StreamReplied(stream_id):
                self.streams[stream_id].is_replied = True
            case DataReceived(stream_id, data, fin):
                self.streams[stream_id].received += data
                self.streams[stream_id].is_finished |= fin
            case StreamReset(stream_id):
                self.streams[stream_id].is_reset = True
            case PingReceived(ping_id):
                self._writer.write(self.codec.ping(ping_id))
            case GoAwayReceived():
                self.went_away = True


@asynccontextmanager
async def connect(
    url: str,
    query: Iterable[tuple[str, str]] = (),
    *,
    trust: ssl.SSLContext,
    protocols: Iterable[str] = PROTOCOLS,
    upgrade: str = "SPDY/3.1",
) -> AsyncIterator[SpdyPeer]:
    """Open a SPDY connection for the duration of the block.

    Raises:
        Refused: the kubelet does not upgrade.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=trust)
    lines = [
        f"POST {parts.path}?{urlencode(list(query))} HTTP/1.1",
        "Host: kubelet",
        "Content-Length: 0",
        "Connection: Upgrade",
        f"Upgrade: {upgrade}",
        *(f"X-Stream-Protocol-Version: {name}" for name in protocols),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    try:
        if not head.startswith("HTTP/1.1 101"):
            length = next(int(line.split()[1]) for line in head.split("\r\n") if line.startswith("Content-Length"))
            raise Refused(head, await reader.readexactly(length))
        peer = SpdyPeer(reader, writer, head)
        task = asyncio.create_task(peer.run())
        try:
            yield peer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        writer.close()
