"""Kubernetes' channels in WebSocket messages: `v5.channel.k8s.io` and its older versions.

The first byte of a message is the channel, the rest is data. In v5 a message of byte 255 and a channel closes that
channel: without it, a command could never read the end of its standard input. In the `base64` protocols messages
are text: the digit of the channel, then base64. Sources: `k8s.io/streaming/pkg/httpstream/wsstream`,
`k8s.io/cri-streaming/pkg/streaming/remotecommand`.
"""

import asyncio
import binascii
import socket
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Self

import aiohttp
from aiohttp import WSMsgType, web

from broker.streaming.connection import keep_open
from broker.streaming.peer import Channel, ChannelClosed, Data, Event, PeerGone, StreamOptions
from broker.streaming.status import Status

V5 = "v5.channel.k8s.io"
MAX_MESSAGE = (16 << 20) + 2
"""Size in bytes from which a message is refused: one of 16 MiB and the channel is received."""
_CHUNK = 64 << 10
"""Greatest number of bytes of a message that is sent, without the channel."""
_CLOSE = 255
_RESET = struct.pack("ii", 1, 0)
"""`struct linger`: to close a connection resets it."""
_CLOSE_TIMEOUT = 2.0
"""Seconds for the provider's answer to a close frame."""


class _Codec(NamedTuple):
    """A version of the protocol.

    Attributes:
        base64: whether messages are text, in base64.
        closes: whether a message can close a channel.
        status: whether the final status is JSON; else it is the message of a failure, and nothing for a success.
    """

    base64: bool = False
    closes: bool = False
    status: bool = True

    def encode(self, channel: int, payload: bytes | memoryview) -> bytes:
        if self.base64:
            return b"%c%s" % (ord("0") + channel, b64encode(payload))
        return b"%c%s" % (channel, payload)

    def decode(self, message: bytes) -> Event | None:
        """Return the event of a message; None for one without a channel, or with invalid base64."""
        if not message:
            return None
        if self.closes and message[0] == _CLOSE:
            return ChannelClosed(message[1]) if len(message) > 1 else None
        if not self.base64:
            return Data(message[0], message[1:])
        try:
            return Data((message[0] - ord("0")) % 256, b64decode(message[1:]))
        except binascii.Error:
            return None


_V5 = _Codec(closes=True)
_CODECS = {
    V5: _V5,
    "v4.channel.k8s.io": _Codec(),
    "v4.base64.channel.k8s.io": _Codec(base64=True),
    "channel.k8s.io": _Codec(status=False),
    "base64.channel.k8s.io": _Codec(base64=True, status=False),
    None: _Codec(status=False),
}
"""By subprotocol; None: a client that names none, or none that is known."""
PROTOCOLS = tuple(name for name in _CODECS if name)


def codec_of(protocol: str | None) -> _Codec:
    """Return the codec of a subprotocol; None: a client that names none."""
    return _CODECS[protocol]


def is_websocket(request: web.Request) -> bool:
    """Return whether a request is to be upgraded to a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def accept_websocket(
    request: web.Request, protocols: Sequence[str], *, close_timeout: float
) -> "web.WebSocketResponse[bool]":
    """Answer the upgrade to a WebSocket.

    Args:
        request: the request; its subprotocols are in the order of preference.
        protocols: the subprotocols that are known.
        close_timeout: seconds for the client's answer to the close frame, at which it has all bytes.

    Raises:
        web.HTTPException: the request is no valid upgrade.
        PeerGone: the client has disconnected.
    """
    ws: web.WebSocketResponse[bool] = web.WebSocketResponse(
        protocols=protocols, compress=False, max_msg_size=MAX_MESSAGE, timeout=close_timeout, decode_text=False
    )
    try:
        await ws.prepare(request)
    except ConnectionError as exc:
        raise PeerGone("the client has disconnected") from exc
    return ws


class ChannelSocket:
    """Channels in the messages of a WebSocket."""

    def __init__(
        self, ws: "web.WebSocketResponse[bool] | aiohttp.ClientWebSocketResponse[bool]", codec: _Codec
    ) -> None:
        self._ws = ws
        self._codec = codec

    async def receive(self) -> Event:
        """Return the next event; messages without data are skipped."""
        while True:
            message = await self._ws.receive()
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                raise PeerGone("the WebSocket is closed")
            event = self._codec.decode(message.data)
            if event is not None and event != Data(event.channel, b""):
                return event

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes in messages of at most 64 KiB."""
        view = memoryview(payload)
        for start in range(0, len(view), _CHUNK):
            await self._send(self._codec.encode(channel, view[start : start + _CHUNK]))

    async def close_channel(self, channel: int) -> None:
        """Send a message that closes a channel, where the protocol has one."""
        if self._codec.closes:
            await self._send(bytes((_CLOSE, channel)))

    async def _send(self, message: bytes) -> None:
        try:
            if self._codec.base64:
                await self._ws.send_str(message.decode())
            else:
                await self._ws.send_bytes(message)
        except ConnectionError as exc:
            raise PeerGone("the WebSocket is closed") from exc


class WebSocketClient(ChannelSocket):
    """The client of an exec or attach over WebSocket: a :class:`~broker.streaming.peer.ClientPeer`."""

    def __init__(self, ws: "web.WebSocketResponse[bool]", request: web.Request, options: StreamOptions) -> None:
        super().__init__(ws, _CODECS[ws.ws_protocol])
        self._transport = request.transport
        self._sends = options.to_client()
        self._takes = options.to_provider()

    @classmethod
    async def accept(
        cls, request: web.Request, options: StreamOptions, *, close_timeout: float
    ) -> "tuple[web.WebSocketResponse[bool], Self]":
        """Answer the upgrade; return the response and the client.

        A kubelet sends an empty message at once, which clients take for the sign that they are connected.

        The arguments and errors are those of :func:`accept_websocket`, and the streams that the client asks for.
        """
        ws = await accept_websocket(request, PROTOCOLS, close_timeout=close_timeout)
        client = cls(ws, request, options)
        await client._send(client._codec.encode(min(client._sends), b""))
        return ws, client

    async def receive(self) -> Event:
        """Return the next event on a channel that was asked for."""
        while True:
            event = await super().receive()
            if event.channel in self._takes:
                return event

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes on a channel that was asked for."""
        if channel in self._sends:
            await super().send(channel, payload)

    async def close_channel(self, channel: int) -> None:
        """Do nothing: no version of the protocol has a message for it in this direction."""

    async def finish(self, status: Status) -> None:
        """Send the final status and a close frame; wait for that of the client, which comes after all bytes."""
        with suppress(PeerGone):
            if self._codec.status:
                await self.send(Channel.STATUS, status.raw)
            elif not status.success:
                await self.send(Channel.STATUS, status.message.encode())
            await self._ws.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport:
            self._transport.abort()


class WebSocketProvider(ChannelSocket):
    """The provider's end of a session: a :class:`~broker.streaming.peer.ProviderPeer`."""

    def __init__(self, ws: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        super().__init__(ws, _CODECS[V5])
        self._socket: socket.socket | None = ws.get_extra_info("socket")
        keep_open(self._socket)

    async def close(self) -> None:
        """Send a close frame, and wait for that of the provider, for two seconds in all."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._ws.close()
        except TimeoutError:
            self.abort()
        if self._ws.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
            self.abort()

    def abort(self) -> None:
        """Reset the connection: a provider that does not read, because its command does not, is told too."""
        if self._socket:
            with suppress(OSError):  # closed
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._socket.shutdown(socket.SHUT_RDWR)
