"""HTTP server of the stub providers: decode requests, send replies, record requests."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

import orjson
from aiohttp import web


class Request(NamedTuple):
    """A received request.

    Attributes:
        content: the body.
        headers: lower-case name → value.
    """

    method: str
    path: str
    query: dict[str, str]
    content: bytes
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        """Decoded JSON body; None if there is no body."""
        return orjson.loads(self.content) if self.content else None

    @property
    def pod(self) -> dict[str, Any]:
        """Pod in the body; empty if the body is not JSON."""
        try:
            return dict(self.body or {})
        except ValueError:
            return {}


class Reply(NamedTuple):
    """A response.

    Attributes:
        body: bytes, or a generator of chunks, which are sent as they are yielded.
        phrase: reason phrase; the standard one if None.
        script: what the server does on the WebSocket of this response; None for an ordinary response.
    """

    code: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never modified
    phrase: str | None = None
    script: Callable[[web.WebSocketResponse], Awaitable[None]] | None = None

    @property
    def text(self) -> str:
        """Body as text."""
        assert isinstance(self.body, bytes)
        return self.body.decode()

    @property
    def data(self) -> Any:
        """Decoded JSON body."""
        return orjson.loads(self.text)


class Disconnect(Exception):
    """Raised by a body to abort the connection."""


def json_reply(value: object, code: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """Return a response with a JSON body."""
    return Reply(code, orjson.dumps(value), {"Content-Type": "application/json", **(headers or {})})


class ProviderServer(ABC):
    """Server of a stub provider.

    Attributes:
        port: port on 127.0.0.1; 0 before the first start.
        requests: all received requests, in order.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port after each stop."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @abstractmethod
    async def respond(self, request: Request) -> Reply:
        """Return the response to a request, which is recorded already."""

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in http.headers.items()}
        request = Request(http.method, http.path, dict(http.query), await http.read(), headers)
        self.requests.append(request)
        reply = await self.respond(request)
        if reply.script:
            socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"], compress=False)
            await socket.prepare(http)
            await reply.script(socket)
            return socket
        if isinstance(reply.body, bytes):
            return web.Response(status=reply.code, reason=reply.phrase, body=reply.body, headers=reply.headers)
        response = web.StreamResponse(status=reply.code, reason=reply.phrase, headers=reply.headers)
        await response.prepare(http)
        async with contextlib.aclosing(reply.body) as chunks:
            try:
                async for chunk in chunks:
                    await response.write(chunk)
            except Disconnect:
                assert http.transport is not None
                http.transport.abort()
        return response
