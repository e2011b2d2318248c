"""A SPDY connection with a client: reads its frames, and writes those of all its streams.

The connection has two tasks. The *reader* passes what arrives to an inbox, one for each session. It stops reading
while the inboxes hold :data:`MAX_UNREAD` bytes, so TCP holds the client back: SPDY as Go speaks it has no other
flow control, and a stream that is not read holds up all streams of its connection. A forwarded connection that
takes nothing for long is therefore reset (`stall_timeout`).

The *writer* writes what the sessions have put into one queue. A session waits while the queue holds
:data:`MAX_UNSENT` bytes. Answers to frames of the client are put without waiting, since the reader would wait
for a client that reads nothing; it reads no more while too many of them are unsent.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import structlog

from broker.spdy import (
    Connection,
    DataReceived,
    GoAwayReceived,
    GoAwayStatus,
    HeadersReceived,
    PingReceived,
    ProtocolError,
    ResetStatus,
    Role,
    StreamOpened,
    StreamReset,
)
from broker.spdy import (
    Event as Frame,
)
from broker.streaming.peer import ChannelClosed, Data, Event, PeerGone

log = structlog.get_logger()

MAX_UNREAD = 256 << 10
"""Bytes in the inboxes of a connection, and those of one read more."""
MAX_UNSENT = 256 << 10
"""Bytes in the queue of the writer, and one write of each session more."""
MAX_ANSWERS = 64 << 10
"""Bytes of answers to the client beyond :data:`MAX_UNSENT`."""
MAX_STREAMS = 1024
_EVENT_OVERHEAD = 256
"""Bytes of an event in memory besides its data: a client may send one byte per frame."""
_GOAWAY_TIMEOUT = 0.5


class Wire(Protocol):
    """The connection that carries SPDY: TCP, or a WebSocket. Reads and writes are each in one task."""

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end of the connection."""
        ...

    async def write(self, data: bytes) -> None:
        """Write bytes; wait while the client takes none.

        Raises:
            ConnectionError: the connection has ended.
        """
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...


class Inbox:
    """Events of the client for one session."""

    def __init__(self, connection: "SpdyConnection") -> None:
        self._connection = connection
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._open = True
        self.unread = 0
        connection.inboxes.add(self)

    def put(self, event: Event) -> None:
        """Add an event; discard it where the inbox is closed."""
        if self._open:
            self._events.append(event)
            self.unread += _size(event)
            self._arrived.set()

    async def get(self) -> Event:
        """Return the next event.

        Raises:
            PeerGone: there will be none.
        """
        while not self._events:
            if not self._open or self._connection.gone.is_set():
                raise PeerGone("the SPDY connection is closed")
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        self._take(_size(event))
        return event

    def wake(self) -> None:
        """Wake :meth:`get`, which finds that the connection has ended."""
        self._arrived.set()

    def close(self) -> None:
        """Discard what is unread, and what arrives."""
        self._open = False
        self._connection.inboxes.discard(self)
        self._events.clear()
        self._take(self.unread)
        self._arrived.set()

    def _take(self, size: int) -> None:
        self.unread -= size
        self._connection.taken.set()


class SpdyStream:
    """A stream that the client has opened.

    Attributes:
        stream_id: its number.
        headers: its headers, with names in lower case.
        inbox: for its data; None: they are discarded.
        channel: the channel of its data in the inbox.
        on_reset: is called when the client resets the stream, or when it is reset because it has stalled.
    """

    def __init__(self, connection: "SpdyConnection", stream_id: int, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self.stream_id = stream_id
        self.headers = headers
        self.inbox: Inbox | None = None
        self.channel = 0
        self.on_reset: Callable[[], object] = lambda: None

    async def send(self, payload: bytes, *, fin: bool = False) -> None:
        """Send bytes; discard them where the client has reset the stream.

        Raises:
            PeerGone: the connection has ended.
        """
        await self._connection.ready()
        self._connection.send(self.stream_id, payload, fin=fin)

    def reset(self, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """Close both directions at once."""
        self._connection.reset(self, status)

    def deliver(self, data: bytes, *, fin: bool) -> None:
        """Put data of the client into the inbox."""
        if self.inbox and data:
            self.inbox.put(Data(self.channel, data))
        if self.inbox and fin:
            self.inbox.put(ChannelClosed(self.channel))


class SpdyConnection:
    """A connection. Its tasks run within `async with`.

    Args:
        wire: carries the bytes.
        opened: is called with each new stream; it returns whether the stream is accepted.
        stall_timeout: seconds without a byte taken, while the inboxes are full, after which the streams of the
            fullest one are reset; None: never.

    Attributes:
        inboxes: those that are open.
        gone: the client sends no more: it has disconnected, or said that it will.
        taken: bytes were taken from an inbox.
    """

    def __init__(
        self, wire: Wire, opened: Callable[[SpdyStream], bool], *, stall_timeout: float | None = None
    ) -> None:
        self._wire = wire
        self._opened = opened
        self._stall_timeout = stall_timeout
        self._codec = Connection(Role.SERVER)
        self._streams: dict[int, SpdyStream] = {}
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._queued, self._written = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.inboxes: set[Inbox] = set()
        self.gone, self.taken = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._go_away(GoAwayStatus.OK)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ready(self) -> None:
        """Wait until bytes can be sent.

        Raises:
            PeerGone: the connection has ended.
        """
        await self._unsent_below(MAX_UNSENT)

    async def flush(self) -> None:
        """Wait until all bytes are written.

        Raises:
            PeerGone: the connection has ended.
        """
        await self._unsent_below(1)

    def send(self, stream_id: int, payload: bytes, *, fin: bool = False) -> None:
        """Queue bytes of a stream; discard them where it is closed for sending."""
        if self._codec.can_send(stream_id):
            self._queue(self._codec.send_data(stream_id, payload, fin=fin))

    def reset(self, stream: SpdyStream, status: ResetStatus) -> None:
        """Close both directions of a stream."""
        self._streams.pop(stream.stream_id, None)
        self._queue(self._codec.reset(stream.stream_id, status))

    def abort(self) -> None:
        """End the connection at once."""
        self._wire.abort()

    async def _read(self) -> None:
        try:
            while data := await self._wire.read():
                for frame in self._codec.receive(data):
                    self._handle(frame)
                await self._unsent_below(MAX_UNSENT + MAX_ANSWERS)
                await self._wait_for_room()
        except ProtocolError as exc:
            log.warning("SPDY connection ended", error=str(exc))
            await self._go_away(GoAwayStatus.PROTOCOL_ERROR)
        except PeerGone:
            pass
        finally:
            self._lose()

    async def _write(self) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            data, self._unsent = b"".join(self._unsent), []
            try:
                await self._wire.write(data)
            except ConnectionError:
                self._lose()
                return
            self._unsent_bytes -= len(data)
            self._written.set()

    async def _go_away(self, status: GoAwayStatus) -> None:
        """Send the last frame, unless the client has gone or takes nothing."""
        self._queue(self._codec.go_away(status))
        with suppress(PeerGone, TimeoutError):
            async with asyncio.timeout(_GOAWAY_TIMEOUT):
                await self.flush()

    def _queue(self, frames: bytes) -> None:
        if frames:
            self._unsent.append(frames)
            self._unsent_bytes += len(frames)
            self._queued.set()

    async def _unsent_below(self, limit: int) -> None:
        while self._unsent_bytes >= limit:
            if self.gone.is_set():
                raise PeerGone("the SPDY connection is closed")
            self._written.clear()
            await self._written.wait()

    async def _wait_for_room(self) -> None:
        """Wait until the inboxes have room; reset what takes nothing for long."""
        while sum(inbox.unread for inbox in self.inboxes) > MAX_UNREAD:
            self.taken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._stall_timeout):
                    await self.taken.wait()
            if not self.taken.is_set():  # after a pause of this process, it may be set in spite of the timeout
                self._reset_stalled()

    def _reset_stalled(self) -> None:
        fullest = max(self.inboxes, key=lambda inbox: inbox.unread)
        fullest.close()
        for stream in [stream for stream in self._streams.values() if stream.inbox is fullest]:
            log.warning("stream reset: its data were not taken for too long", stream_id=stream.stream_id)
            stream.reset()
            stream.on_reset()

    def _lose(self) -> None:
        self.gone.set()
        self._written.set()
        for inbox in self.inboxes:
            inbox.wake()

    def _handle(self, frame: Frame) -> None:
        match frame:
            case StreamOpened(stream_id, headers, fin):
                self._open(SpdyStream(self, stream_id, headers), fin=fin)
            case DataReceived(stream_id, data, fin):
                if stream := self._streams.get(stream_id):
                    stream.deliver(data, fin=fin)
            case HeadersReceived(stream_id, _, fin):
                if fin and (stream := self._streams.get(stream_id)):
                    stream.deliver(b"", fin=True)
            case StreamReset(stream_id):
                if stream := self._streams.pop(stream_id, None):
                    stream.deliver(b"", fin=True)
                    stream.on_reset()
            case PingReceived(ping_id):
                self._queue(self._codec.ping(ping_id))
            case GoAwayReceived():
                self._lose()

    def _open(self, stream: SpdyStream, *, fin: bool) -> None:
        self._streams[stream.stream_id] = stream
        if self._codec.open_streams > MAX_STREAMS or not self._opened(stream):
            self.reset(stream, ResetStatus.REFUSED_STREAM)
            return
        self._queue(self._codec.reply(stream.stream_id))
        stream.deliver(b"", fin=fin)


def _size(event: Event) -> int:
    """Return the memory that an event takes, in bytes."""
    return _EVENT_OVERHEAD + (len(event.payload) if isinstance(event, Data) else 0)
