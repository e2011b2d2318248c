"""A lean HTTP/1.1 client for one server: a pool of connections, one request at a time on each.

A node makes some five requests to the API server for each pod. In a general client such as aiohttp's, each costs
more than all that the broker does for it: URLs, cookies, redirects, proxies, compression and tracing are handled
for every request. None of that is needed here (docs/decisions/0035), and httptools parses the responses in C.

A server closes connections that are idle for long, perhaps in the moment in which a request is sent. A request
that may be repeated without harm is then sent once more, on a new connection.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import quote, urlsplit

import httptools

_IDLE = 15.0
"""Seconds after which an idle connection is closed."""
_SAFE = "/?&=%:@!$'()*+,;"
_IDEMPOTENT = ("GET", "PUT", "DELETE")


class ConnectionLost(ConnectionError):
    """The connection was closed before the response was complete.

    Attributes:
        is_stale: whether nothing of the response was received.
    """

    def __init__(self, message: str, *, is_stale: bool) -> None:
        super().__init__(message)
        self.is_stale = is_stale


class Response(NamedTuple):
    """A complete response: its status, the header `Retry-After` (None: absent), and the body."""

    status: int
    retry_after: str | None
    body: bytes


class HttpPool:
    """Connections to one server.

    Args:
        server: URL of the server, with an optional path.
        ssl_context: for `https`; None for plain HTTP.
        server_hostname: name on the server's certificate, where it differs from that of the URL.
        headers: headers of every request.
        connections: number of concurrent requests; further ones wait.
    """

    def __init__(
        self,
        server: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        headers: Mapping[str, str],
        connections: int,
    ) -> None:
        url = urlsplit(server)
        self._host, self._prefix = url.hostname or "", url.path
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._ssl = ssl_context
        self._server_hostname = server_hostname if self._ssl else None
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": url.netloc, **headers}.items())
        self._free = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []  # the one that is idle for longest comes first
        self._timer: asyncio.TimerHandle | None = None

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        """Send a request and return the complete response.

        Args:
            method: HTTP method.
            target: path and query; characters that a URL may not have are percent-encoded.
            headers: further headers of this request.
            body: the body; None for none.

        Raises:
            OSError: no connection, or it was closed before the response was complete.
        """
        url = quote(self._prefix + target, safe=_SAFE)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {url} HTTP/1.1\r\n{self._head}{lines}{length}\r\n".encode("latin-1")
        message = head + (body or b"")
        async with self._free:
            if connection := self._take_idle():
                try:
                    return await self._exchange(connection, message)
                except ConnectionLost as exc:
                    if not exc.is_stale or method not in _IDEMPOTENT:
                        raise
            return await self._exchange(await self._connect(), message)

    def close(self) -> None:
        """Close every idle connection."""
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> "_Connection | None":
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._discard),
            self._host,
            self._port,
            ssl=self._ssl,
            server_hostname=self._server_hostname,
        )
        return connection

    async def _exchange(self, connection: "_Connection", message: bytes) -> Response:
        try:
            response = await connection.exchange(message)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if self._timer is None:
                self._close_idle()
        return response

    def _close_idle(self) -> None:
        """Close the connections that are idle for too long, now and as long as there are idle ones.

        One timer serves all connections: one for each request would cost as much as a tenth of the request.
        """
        loop, self._timer = asyncio.get_running_loop(), None
        while self._idle and self._idle[0].idle_since + _IDLE <= loop.time():
            self._idle.pop(0).close()
        if self._idle:
            self._timer = loop.call_at(self._idle[0].idle_since + _IDLE, self._close_idle)

    def _discard(self, connection: "_Connection") -> None:
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    """One connection, and the receiver of the parser's events.

    Attributes:
        idle_since: time of the last response by the clock of the event loop, in seconds.
    """

    def __init__(self, on_close: Callable[["_Connection"], None]) -> None:
        self._on_close = on_close
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: asyncio.Future[Response] | None = None
        self._has_received = False
        self._retry_after: str | None = None
        self._body: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, message: bytes) -> Response:
        """Send a request and return its response.

        Raises:
            ConnectionLost: the connection was closed before the response was complete.
        """
        if self._transport is None or not self.is_open:
            raise ConnectionLost("the connection is closed", is_stale=True)
        self._has_received, self._retry_after, self._body = False, None, []
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._response

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what the server has sent; without a request, it is a violation of the protocol."""
        if self._response is None:
            self.close()
            return
        self._has_received = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(f"the response is not HTTP: {exc}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request in progress."""
        self._transport = None
        self._fail(str(exc) if exc else "the server has closed the connection")
        self._on_close(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the header that is read."""
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Return the response; a further one that was not requested ends the connection."""
        response, self._response = self._response, None
        if response is None or not self._parser.should_keep_alive():
            self.close()
        if response is not None and not response.done():
            status = self._parser.get_status_code()
            response.set_result(Response(status, self._retry_after, b"".join(self._body)))

    def _fail(self, message: str) -> None:
        response, self._response = self._response, None
        if response is not None and not response.done():
            response.set_exception(ConnectionLost(message, is_stale=not self._has_received))
