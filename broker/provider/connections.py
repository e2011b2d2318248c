"""HTTP connections to a provider; their errors are raised as those of the broker."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from time import monotonic

import aiohttp

from broker.errors import ProviderRefused, ProviderUnavailable
from broker.provider.answer import Answer, check, refusal
from broker.streaming.websocket import MAX_MESSAGE, V5, WebSocketProvider

# Servers close idle connections, some after five seconds. A client that closes earlier never writes to a closing
# one.
_IDLE = 3.0


class ProviderConnections:
    """Connections to one provider, kept for the next request.

    Args:
        url: URL of the provider, such as `http://127.0.0.1:3000`, with an optional path.
        token: bearer token; None for none.
        timeout: seconds for a complete answer.
        observe: is called after each request with its path, the status of the answer (0: no answer) and its
            duration in seconds; not by :meth:`read`, whose duration is that of the reader.
    """

    def __init__(
        self, url: str, *, token: str | None, timeout: float, observe: Callable[[str, int, float], None]
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._observe = observe
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send a request, and return its answer, whatever its status is.

        Raises:
            ProviderUnavailable: there is none.
        """
        limit = aiohttp.ClientTimeout(total=timeout or self._timeout)
        began, status = monotonic(), 0
        try:
            with _translated(f"{method} {path}"):
                async with self._send(method, path, query=query, body=body, timeout=limit) as response:
                    # Read even for a write: a connection with an unread body cannot be reused.
                    content, status = await response.read(), response.status
                    return Answer(status, response.headers.get("Retry-After", ""), content)
        finally:
            self._observe(path, status, monotonic() - began)

    @asynccontextmanager
    async def read(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Read an answer in chunks, for as long as the provider sends any.

        Raises:
            ProviderError: also while reading.
        """
        async with AsyncExitStack() as stack:
            with _translated(f"GET {path}"):
                async with asyncio.timeout(self._timeout):
                    unlimited = aiohttp.ClientTimeout(total=None)
                    response = await stack.enter_async_context(
                        self._send("GET", path, query=query, timeout=unlimited)
                    )
                    if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                        check(Answer(response.status, "", await response.read()))
            yield _chunks(response, path)

    async def connect(self, path: str, query: Sequence[tuple[str, str]]) -> WebSocketProvider:
        """Open a WebSocket.

        Raises:
            ProviderRefused: the provider answers anything but an upgrade, with its status and message.
            ProviderUnavailable: no answer.
        """
        began, status = monotonic(), 0
        try:
            with _translated(f"GET {path}"):
                async with asyncio.timeout(self._timeout):
                    ws = await self._connections.ws_connect(
                        self._url + path,
                        params=query,
                        protocols=[V5],
                        max_msg_size=MAX_MESSAGE,
                        decode_text=False,
                    )
            status = HTTPStatus.SWITCHING_PROTOCOLS
            return WebSocketProvider(ws)
        except ProviderRefused as exc:
            status = exc.code
            raise
        finally:
            self._observe(path, status, monotonic() - began)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: bytes | None = None,
        timeout: aiohttp.ClientTimeout,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._connections.request(
            method,
            self._url + path,
            params=query,
            data=body,
            headers=None if body is None else {"Content-Type": "application/json"},
            timeout=timeout,
            allow_redirects=False,  # following a redirect would turn a POST into a GET
        )

    @property
    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, middlewares=[_read_refused_upgrade]
            )
        return self._session


@contextmanager
def _translated(request: str) -> Iterator[None]:
    """Raise timeouts and errors of the connection as :class:`ProviderUnavailable`."""
    try:
        yield
    except TimeoutError as exc:
        raise ProviderUnavailable(f"the provider does not answer {request} in time") from exc
    except aiohttp.ClientResponseError as exc:  # its text has the URL, and so the command of an exec
        message = exc.message.partition(":\n")[0]
        raise ProviderUnavailable(f"the provider's answer to {request} is invalid: {message}") from exc
    except aiohttp.ClientError as exc:
        raise ProviderUnavailable(f"the provider is unreachable: {str(exc) or type(exc).__name__}") from exc


async def _read_refused_upgrade(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Raise the refusal of an upgrade with its message: aiohttp's own error has none."""
    response = await handler(request)
    if "Upgrade" in request.headers and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise refusal(response.status, await response.read())
    return response


async def _chunks(response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
    with _translated(f"GET {path}"):
        async for chunk in response.content.iter_any():
            yield chunk
