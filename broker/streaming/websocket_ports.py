"""Port-forward over one WebSocket, as clients other than kubectl use it: `?ports=80,443` and `v4.channel.k8s.io`.

Port number i of the query has two channels, 2i for its bytes and 2i + 1 for the text of an error. The first
message of each has the port, in two bytes, little-endian. Each port has one connection to the pod, which begins at
once. A slow port holds up the others, as at a kubelet. Source: `k8s.io/cri-streaming/pkg/streaming/portforward`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from aiohttp import web

from broker.streaming.peer import Channel, ChannelClosed, ClientPeer, Data, Event, PeerGone
from broker.streaming.status import Status
from broker.streaming.websocket import ChannelSocket, accept_websocket, codec_of

Forward = Callable[[int, ClientPeer], Awaitable[None]]
"""Serves a connection to a port of the pod, until it ends; it calls `finish`, or the client has gone."""

_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
_CLOSE_TIMEOUT = 10.0
_MOST_PORTS = 128
"""Each has two channels, and the number of a channel is one byte."""
_MOST_BASE64_PORTS = 40
"""The number of a channel is one character from `0` on, in ASCII."""


def parse_port(text: str) -> int | None:
    """Return the number of a port, which may be 0; None for a text that is none."""
    is_number = len(text) <= 5 and text.isascii() and text.isdecimal()
    return int(text) if is_number and int(text) < 1 << 16 else None


def parse_ports(values: Iterable[str]) -> list[int]:
    """Return the ports of a query, such as `["80,443", "8080"]`.

    Raises:
        ValueError: no port, one that is no port, or too many; the messages of the first are a kubelet's.
    """
    ports = []
    for value in values:
        if not value:
            raise ValueError('query parameter "ports" cannot be empty')
        for text in value.split(","):
            port = parse_port(text)
            if port is None:
                raise ValueError(f'unable to parse "{value}" as a port')
            if port == 0:
                raise ValueError(f'port "{value}" must be > 0')
            ports.append(port)
    if not ports:
        raise ValueError('query parameter "ports" is required')
    if len(ports) > _MOST_PORTS:
        raise ValueError(f'query parameter "ports" has {len(ports)} ports, more than {_MOST_PORTS}')
    return ports


async def serve_ports(request: web.Request, ports: Sequence[int], forward: Forward) -> web.StreamResponse:
    """Answer the upgrade, and serve each port until all connections have ended.

    Raises:
        web.HTTPException: the request is no valid upgrade.
        PeerGone: the client has disconnected before the upgrade.
    """
    protocols = _PROTOCOLS[:1] if len(ports) > _MOST_BASE64_PORTS else _PROTOCOLS
    ws = await accept_websocket(request, protocols, close_timeout=_CLOSE_TIMEOUT)
    channels = ChannelSocket(ws, codec_of(ws.ws_protocol))
    connections = [PortConnection(channels, number, request.transport) for number in range(len(ports))]
    reading = asyncio.create_task(_distribute(channels, connections))
    try:
        for port, connection in zip(ports, connections, strict=True):
            await connection.announce(port)
        await asyncio.gather(*(forward(*pair) for pair in zip(ports, connections, strict=True)))
    except PeerGone:
        pass
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    await ws.close()
    return ws


class PortConnection:
    """The client of one port: a :class:`~broker.streaming.peer.ClientPeer`."""

    def __init__(self, channels: ChannelSocket, number: int, transport: asyncio.Transport | None) -> None:
        self._channels = channels
        self._transport = transport
        self._data, self._error = 2 * number, 2 * number + 1
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(1)
        self._ended = False

    async def announce(self, port: int) -> None:
        """Send the port on both channels."""
        for channel in (self._data, self._error):
            await self._channels.send(channel, port.to_bytes(2, "little"))

    async def deliver(self, event: Event | None) -> None:
        """Wait until an event is received; drop it after the end of the connection. None: the client has gone."""
        if not self._ended:
            await self._events.put(event)

    async def receive(self) -> Event:
        """Return the next event."""
        event = await self._events.get()
        if event is None:
            raise PeerGone("the WebSocket is closed")
        return event

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes of the pod."""
        if channel == Channel.STDOUT:
            await self._channels.send(self._data, payload)

    async def close_channel(self, channel: int) -> None:
        """Do nothing: the protocol has no message for it."""

    async def finish(self, status: Status) -> None:
        """Send the text of a failure."""
        self._ended = True
        while not self._events.empty():
            self._events.get_nowait()
        if not status.success:
            with suppress(PeerGone):
                await self._channels.send(self._error, status.message.encode())

    def abort(self) -> None:
        """End the WebSocket at once, and with it the other ports."""
        if self._transport:
            self._transport.abort()


async def _distribute(channels: ChannelSocket, connections: Sequence[PortConnection]) -> None:
    """Deliver each event of the client to its port, until the client has gone."""
    try:
        while True:
            event = await channels.receive()
            number, is_error = divmod(event.channel, 2)
            if number < len(connections) and not is_error:
                await connections[number].deliver(_as_input(event))
    except PeerGone:
        for connection in connections:
            await connection.deliver(None)


def _as_input(event: Event) -> Event:
    return Data(Channel.STDIN, event.payload) if isinstance(event, Data) else ChannelClosed(Channel.STDIN)
