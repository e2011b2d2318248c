"""Upgrades of a request to SPDY: of its TCP connection, or within a WebSocket.

kubectl from 1.31 tunnels port-forward: a WebSocket with the subprotocol `SPDY/3.1+portforward.k8s.io`, whose
binary messages are the bytes of a SPDY connection, cut anywhere. API servers from 1.36 pass it on to nodes that
declare `ExtendWebSocketsToKubelet`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from broker.streaming.peer import PeerGone
from broker.streaming.spdy_connection import Wire
from broker.streaming.websocket import accept_websocket

TUNNEL = "SPDY/3.1+portforward.k8s.io"
_SPDY = "SPDY/3.1"
_VERSION = "X-Stream-Protocol-Version"
_ACCEPTED_VERSIONS = "X-Accepted-Stream-Protocol-Versions"
_BUFFER = 64 << 10
_CLOSE_TIMEOUT = 2.0


def is_tunnel(request: web.Request) -> bool:
    """Return whether a request is a WebSocket that carries SPDY."""
    names = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(",")
    return TUNNEL in (name.strip() for name in names)


def accepted_versions(headers: CIMultiDict[str]) -> list[tuple[str, str]]:
    """Return the headers of a refusal that name the protocols that are known."""
    return [(_ACCEPTED_VERSIONS, name) for name in headers.getall(_ACCEPTED_VERSIONS, [])]


async def upgrade(request: web.Request, protocols: Sequence[str]) -> tuple[web.StreamResponse, Wire, str]:
    """Answer 101, and take the connection over from aiohttp.

    Args:
        request: the request.
        protocols: what the client may use the connection for, by `X-Stream-Protocol-Version`.

    Returns:
        The response, the connection, and the first protocol of the client that is known; empty where the client
        has named none.

    Raises:
        web.HTTPException: no upgrade to SPDY, or no protocol that is known.
        PeerGone: the client has disconnected.
    """
    wanted = request.headers.get("Upgrade", "")
    if wanted.lower() != _SPDY.lower():
        raise web.HTTPBadRequest(text=f"unable to upgrade: Upgrade must be websocket or {_SPDY}, is {wanted!r}")
    protocol = _negotiate(request, protocols)
    headers = {"Connection": "Upgrade", "Upgrade": _SPDY} | ({_VERSION: protocol} if protocol else {})
    response = web.StreamResponse(status=101, headers=headers)
    wire = _TakenOver(request, response)  # before the answer: the client may send at once
    try:
        await response.prepare(request)
    except ConnectionError as exc:
        raise PeerGone("the client has disconnected") from exc
    return response, wire, protocol


async def open_tunnel(request: web.Request) -> "tuple[web.WebSocketResponse[bool], Wire]":
    """Answer the upgrade to a WebSocket that carries SPDY.

    Raises:
        web.HTTPException: the request is no valid upgrade.
        PeerGone: the client has disconnected.
    """
    ws = await accept_websocket(request, (TUNNEL,), close_timeout=_CLOSE_TIMEOUT)
    return ws, _Tunnel(request, ws)


def _negotiate(request: web.Request, protocols: Sequence[str]) -> str:
    fields = request.headers.getall(_VERSION, [])
    wanted = [name.strip() for field in fields for name in field.split(",")]
    for name in wanted:
        if name in protocols:
            return name
    if not wanted:
        return ""
    text = (
        f"unable to upgrade: unable to negotiate protocol: client supports {' '.join(wanted)}, "
        f"server accepts {' '.join(protocols)}"
    )
    raise web.HTTPForbidden(text=text, headers=[(_ACCEPTED_VERSIONS, name) for name in protocols])


class _TakenOver:
    """The connection of a request."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.transport is None:
            raise PeerGone("the client has disconnected")
        self._transport = request.transport
        self._response = response
        self._reader = asyncio.StreamReader(_BUFFER)  # pauses the transport at twice as many bytes
        self._reader.set_transport(self._transport)
        response.force_close()
        request.protocol.set_parser(cast("Any", self))

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Accept bytes from aiohttp, which passes them to what it takes for a parser of WebSocket frames."""
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """Accept the end of the connection."""
        self._reader.feed_eof()

    async def read(self) -> bytes:
        return await self._reader.read(_BUFFER)

    async def write(self, data: bytes) -> None:
        await self._response.write(data)

    def abort(self) -> None:
        self._transport.abort()


class _Tunnel:
    """A WebSocket whose binary messages carry a connection."""

    def __init__(self, request: web.Request, ws: "web.WebSocketResponse[bool]") -> None:
        self._transport = request.transport
        self._ws = ws

    async def read(self) -> bytes:
        while True:
            message = await self._ws.receive()
            if message.type is not WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        await self._ws.send_bytes(data)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()
