"""Frames and streams of one connection."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from broker.spdy.errors import LocalProtocolError, ProtocolError
from broker.spdy.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    GoAwayStatus,
    HeadersReceived,
    PingReceived,
    ResetStatus,
    StreamOpened,
    StreamReplied,
    StreamReset,
)
from broker.spdy.headers import HeaderReader, HeaderWriter

MAX_CONTROL_FRAME = 16 * 1024
"""Bytes of a control frame after its header; they are buffered until the frame is whole."""
MAX_DATA_FRAME = 64 * 1024
"""Bytes of data in one frame that is sent: a Go peer reads a frame whole, whatever its size."""

_VERSION = 3
_CONTROL = 0x80000000
_FIN, _UNIDIRECTIONAL = 0x01, 0x02
_LONG, _PAIR = struct.Struct(">I"), struct.Struct(">II")
_SYN_STREAM = struct.Struct(">IIBB")


class Role(Enum):
    """The side of a connection; the value is the parity of the numbers of its streams and pings."""

    SERVER = 0
    CLIENT = 1


class _Type(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


_LENGTHS = {_Type.RST_STREAM: 8, _Type.PING: 4, _Type.GOAWAY: 8, _Type.WINDOW_UPDATE: 8}
_LEAST = {_Type.SYN_STREAM: 10, _Type.SYN_REPLY: 4, _Type.SETTINGS: 4, _Type.HEADERS: 4}


@dataclass(slots=True)
class _Stream:
    """A stream that is open in one direction at least.

    Attributes:
        replied: SYN_REPLY was sent, or need not be.
        sending: this side has not sent FIN.
        receiving: the peer has not sent FIN.
    """

    replied: bool
    sending: bool = True
    receiving: bool = True


class Connection:
    """One side of a SPDY connection.

    Args:
        role: of this side.
    """

    def __init__(self, role: Role) -> None:
        self._role = role
        self._buffer = bytearray()
        self._data_stream = self._data_left = 0
        self._data_fin = False
        self._streams: dict[int, _Stream] = {}
        self._last = {Role.SERVER: 0, Role.CLIENT: -1}
        self._reader, self._writer = HeaderReader(), HeaderWriter()
        self._gone_away = False
        self._error: ProtocolError | None = None

    @property
    def open_streams(self) -> int:
        """Number of the streams that are open in one direction at least."""
        return len(self._streams)

    def can_send(self, stream_id: int) -> bool:
        """Return whether data may be sent on a stream: it was accepted, and is neither finished nor reset."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.replied and stream.sending

    def receive(self, data: bytes) -> Iterator[Event]:
        """Parse bytes of the peer, and yield what has arrived.

        Bytes that the caller does not iterate over are kept, and parsed by the next call.

        Raises:
            ProtocolError: the connection cannot be continued.
        """
        self._buffer += data
        try:
            while self._error is None and (events := self._next()) is not None:
                yield from events
        except ProtocolError as exc:
            self._error = exc
            self._buffer.clear()
        if self._error:
            raise self._error

    def open_stream(self, headers: Mapping[str, str], *, fin: bool = False) -> tuple[int, bytes]:
        """Open a stream; return its number and SYN_STREAM."""
        stream_id = self._last[self._role] = self._last[self._role] + 2
        self._streams[stream_id] = _Stream(replied=True)
        frame = _control(
            _Type.SYN_STREAM,
            _SYN_STREAM.pack(stream_id, 0, 0, 0) + self._writer.write(headers),
            flags=_FIN if fin else 0,
        )
        if fin:
            self._finish_sending(stream_id)
        return stream_id, frame

    def reply(self, stream_id: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Accept a stream of the peer; return SYN_REPLY.

        Raises:
            LocalProtocolError: the stream is not open, or was accepted before.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.replied:
            raise LocalProtocolError(f"stream {stream_id} waits for no reply")
        stream.replied = True
        return _control(_Type.SYN_REPLY, _LONG.pack(stream_id) + self._writer.write(headers or {}))

    def send_data(self, stream_id: int, data: bytes, *, fin: bool = False) -> bytes:
        """Return data frames, of :data:`MAX_DATA_FRAME` bytes at most each.

        Args:
            stream_id: the stream.
            data: may be empty, with `fin`.
            fin: nothing is sent on this stream afterwards.

        Raises:
            LocalProtocolError: the stream is not open for sending.
        """
        if not self.can_send(stream_id):
            raise LocalProtocolError(f"stream {stream_id} is not open for sending")
        parts: list[bytes] = []
        for start in range(0, max(len(data), 1), MAX_DATA_FRAME):
            part = data[start : start + MAX_DATA_FRAME]
            last = start + MAX_DATA_FRAME >= len(data)
            parts += _PAIR.pack(stream_id, (fin and last) << 24 | len(part)), part
        if fin:
            self._finish_sending(stream_id)
        return b"".join(parts)

    def reset(self, stream_id: int, status: ResetStatus) -> bytes:
        """Close both directions of a stream; return RST_STREAM, or nothing if it is closed."""
        if self._streams.pop(stream_id, None) is None:
            return b""
        return _control(_Type.RST_STREAM, _PAIR.pack(stream_id, status))

    def ping(self, ping_id: int) -> bytes:
        """Return PING: a ping of this side, or the answer to one of the peer."""
        return _control(_Type.PING, _LONG.pack(ping_id))

    def go_away(self, status: GoAwayStatus) -> bytes:
        """Return GOAWAY: streams that the peer opens from now on are ignored."""
        self._gone_away = True
        return _control(_Type.GOAWAY, _PAIR.pack(max(self._last[self._peer], 0), status))

    @property
    def _peer(self) -> Role:
        return Role.CLIENT if self._role is Role.SERVER else Role.SERVER

    def _next(self) -> tuple[Event, ...] | None:
        """Parse the next part of a data frame, or control frame; None where more bytes are needed."""
        if self._data_left:
            return self._take_data()
        if len(self._buffer) < _PAIR.size:
            return None
        first, second = _PAIR.unpack_from(self._buffer)
        flags, length = second >> 24, second & 0xFFFFFF
        if first & _CONTROL:
            kind = _check_control(first, length)
            end = _PAIR.size + length
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[_PAIR.size : end])
            del self._buffer[:end]
            event = self._handle(kind, flags, body)
            return (event,) if event else ()
        self._check_stream(first)
        del self._buffer[: _PAIR.size]
        self._data_stream, self._data_left, self._data_fin = first, length, bool(flags & _FIN)
        return () if length else self._data(b"", fin=self._data_fin)

    def _take_data(self) -> tuple[Event, ...] | None:
        if not self._buffer:
            return None
        size = min(self._data_left, len(self._buffer))
        with memoryview(self._buffer) as view:
            data = bytes(view[:size])
        del self._buffer[:size]
        self._data_left -= size
        return self._data(data, fin=self._data_fin and not self._data_left)

    def _data(self, data: bytes, *, fin: bool) -> tuple[Event, ...]:
        stream = self._streams.get(self._data_stream)
        if stream is None or not (data or fin):
            return ()
        if not stream.receiving:
            raise ProtocolError(f"data on stream {self._data_stream} after its end")
        if fin:
            self._finish_receiving(self._data_stream)
        return (DataReceived(self._data_stream, data, fin),)

    def _handle(self, kind: _Type, flags: int, body: bytes) -> Event | None:
        fin = bool(flags & _FIN)
        match kind:
            case _Type.SYN_STREAM:
                return self._open(flags, body)
            case _Type.SYN_REPLY | _Type.HEADERS:
                return self._headers(kind, body, fin=fin)
            case _Type.RST_STREAM:
                stream_id, status = _PAIR.unpack(body)
                self._check_stream(stream_id)
                return StreamReset(stream_id, status) if self._streams.pop(stream_id, None) else None
            case _Type.PING:
                (ping_id,) = _LONG.unpack(body)
                return PingReceived(ping_id) if ping_id % 2 == self._peer.value else None
            case _Type.GOAWAY:
                return GoAwayReceived(*_PAIR.unpack(body))
            case _Type.SETTINGS:
                if len(body) != _LONG.size + _PAIR.size * _LONG.unpack_from(body)[0]:
                    raise ProtocolError("SETTINGS has another length than its entries")
        return None  # SETTINGS, WINDOW_UPDATE

    def _open(self, flags: int, body: bytes) -> Event | None:
        stream_id = _SYN_STREAM.unpack_from(body)[0] & ~_CONTROL
        headers = self._reader.read(body[_SYN_STREAM.size :])
        if stream_id % 2 != self._peer.value or stream_id <= self._last[self._peer]:
            raise ProtocolError(f"stream {stream_id} has a number of this side, or one that is not ascending")
        if flags & _UNIDIRECTIONAL:
            raise ProtocolError("streams of one direction are not supported")
        self._last[self._peer] = stream_id
        if self._gone_away:
            return None
        fin = bool(flags & _FIN)
        self._streams[stream_id] = _Stream(replied=False, receiving=not fin)
        return StreamOpened(stream_id, headers, fin)

    def _headers(self, kind: _Type, body: bytes, *, fin: bool) -> Event | None:
        stream_id = _LONG.unpack_from(body)[0] & ~_CONTROL
        headers = self._reader.read(body[_LONG.size :])
        self._check_stream(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        if not stream.receiving:
            raise ProtocolError(f"headers on stream {stream_id} after its end")
        if kind is _Type.SYN_REPLY and stream_id % 2 != self._role.value:
            raise ProtocolError(f"reply to stream {stream_id}, which the peer has opened itself")
        if fin:
            self._finish_receiving(stream_id)
        return (StreamReplied if kind is _Type.SYN_REPLY else HeadersReceived)(stream_id, headers, fin)

    def _check_stream(self, stream_id: int) -> None:
        """Raise ProtocolError unless a stream is or was open."""
        owner = Role(stream_id % 2)
        if not 0 < stream_id <= self._last[owner]:
            raise ProtocolError(f"stream {stream_id} was never opened")

    def _finish_sending(self, stream_id: int) -> None:
        self._streams[stream_id].sending = False
        self._forget(stream_id)

    def _finish_receiving(self, stream_id: int) -> None:
        self._streams[stream_id].receiving = False
        self._forget(stream_id)

    def _forget(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if not (stream.sending or stream.receiving):
            del self._streams[stream_id]


def _control(kind: _Type, body: bytes, *, flags: int = 0) -> bytes:
    return _PAIR.pack(_CONTROL | _VERSION << 16 | kind, flags << 24 | len(body)) + body


def _check_control(first: int, length: int) -> _Type:
    """Return the type of a control frame, by its header."""
    version = first >> 16 & 0x7FFF
    if version != _VERSION:
        raise ProtocolError(f"SPDY version {version} is not supported")
    try:
        kind = _Type(first & 0xFFFF)
    except ValueError as exc:
        raise ProtocolError(f"control frame of unknown type {first & 0xFFFF}") from exc
    if length > MAX_CONTROL_FRAME:
        raise ProtocolError(f"{kind.name} of {length} bytes is larger than {MAX_CONTROL_FRAME}")
    if _LENGTHS.get(kind, length) != length or length < _LEAST.get(kind, 0):
        raise ProtocolError(f"{kind.name} has {length} bytes")
    return kind
