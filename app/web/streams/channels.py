"""The WebSocket protocol `v5.channel.k8s.io` of Kubernetes, without I/O.

The first byte of each message is a channel: standard input, output and error, the final Status, and the window
size; the message 255, n ends channel n. Source: `k8s.io/apimachinery/pkg/util/remotecommand/constants.go`.
"""

from collections.abc import Iterator
from enum import IntEnum
from logging import WARNING, getLogger
from typing import NamedTuple

import msgspec
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

SUBPROTOCOL = "v5.channel.k8s.io"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_NORMAL_CLOSURE = 1000
_logger = getLogger("websockets.server")
_logger.setLevel(WARNING)  # it reports each end of a connection, as the audit log does


class Channel(IntEnum):
    """The first byte of a message."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    STATUS = 3
    RESIZE = 4
    CLOSE = 255


class Data(NamedTuple):
    """Bytes of standard input."""

    data: bytes


class EndOfInput(NamedTuple):
    """The end of standard input."""


class Resize(NamedTuple):
    """A window size, in columns and rows."""

    width: int
    height: int


class _Size(msgspec.Struct, rename="pascal", frozen=True):
    width: int
    height: int


# msgspec prepares a type on first use, and a process in which two threads do so at once crashes.
_SIZE = msgspec.json.Decoder(_Size)
_LARGEST_SIZE = 2**16 - 1


class ChannelProtocol:
    """One WebSocket, after its handshake."""

    def __init__(self) -> None:
        self._websocket = Protocol(Side.SERVER, state=State.OPEN, max_size=MAX_MESSAGE_BYTES, logger=_logger)
        self._channel: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._websocket.state is State.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether the client has closed the WebSocket."""
        return self._websocket.close_rcvd is not None

    @property
    def replies(self) -> int:
        """The number of frames that :meth:`to_send` would return."""
        return len(self._websocket.writes)

    def receive(self, data: bytes) -> Iterator[Data | EndOfInput | Resize]:
        """Yield the events in bytes from the client; none in no bytes, which are the end of the connection.

        Afterwards, :meth:`to_send` has responses to pings, and to what violates the protocol.
        """
        if data:
            self._websocket.receive_data(data)
        else:
            self._websocket.receive_eof()
        for frame in self._websocket.events_received():
            if isinstance(frame, Frame) and frame.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
                yield from self._message(frame)

    def send(self, channel: Channel, data: bytes) -> None:
        """Send a message, if the WebSocket is open."""
        if self.is_open:
            self._websocket.send_binary(bytes((channel,)) + data)

    def close(self) -> None:
        """Begin the closing handshake, if the WebSocket is open."""
        if self.is_open:
            self._websocket.send_close(_NORMAL_CLOSURE)

    def to_send(self) -> bytes:
        """Return the bytes for the client, and forget them."""
        return b"".join(self._websocket.data_to_send())

    def _message(self, frame: Frame) -> Iterator[Data | EndOfInput | Resize]:
        """Yield the event in a frame; a message of several has its channel in the first."""
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._channel = data[0] if data else None
            data = data[1:]
        if self._channel == Channel.STDIN and data:
            yield Data(data)
        elif self._channel == Channel.CLOSE and data == bytes((Channel.STDIN,)):
            yield EndOfInput()
        elif self._channel == Channel.RESIZE and frame.fin:
            try:
                size = _SIZE.decode(data)
            except msgspec.MsgspecError:
                return
            if 0 < size.width <= _LARGEST_SIZE and 0 < size.height <= _LARGEST_SIZE:
                yield Resize(size.width, size.height)
