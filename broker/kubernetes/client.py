"""HTTP client of an API server, with JSON bodies."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from urllib.parse import urlencode

import aiohttp
import msgspec

from broker.errors import ConfigurationError
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.errors import Unreachable, error_from
from broker.kubernetes.http import HttpPool
from broker.kubernetes.objects import RawObject
from broker.streaming.connection import keep_open
from broker.types import Object

_JSON = "application/json"
_PATCH = "application/strategic-merge-patch+json"
_PAGE = "500"


class _ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


_lists = msgspec.json.Decoder(_List)


class Client:
    """Client of one API server.

    Every method may raise a subclass of :class:`broker.kubernetes.errors.ApiError`, and no error of the HTTP
    library; none retries.

    Args:
        config: address of the server, and credentials.
        user_agent: name of this client in the server's logs and audit events.
        timeout: seconds for a complete answer.
        observe: is called after each request with its method, the status of the answer (0: no answer) and its
            duration in seconds.
        connections: number of concurrent requests, besides the watches; further requests wait. Each connection
            takes about 80 KB, and more connections are not faster.
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        user_agent: str = "virtual-kubelet-web",
        timeout: float = 30,
        connections: int = 16,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._config = config
        self._headers = {"User-Agent": user_agent, "Accept": _JSON}
        self._timeout = timeout
        self._observe = observe
        self._pool = HttpPool(
            config.server,
            ssl_context=config.ssl_context,
            server_hostname=config.server_hostname,
            headers=self._headers,
            connections=connections,
        )
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, **query: str) -> Object:
        """Read an object."""
        return _decoded(await self.get_bytes(path, **query))

    async def get_bytes(self, path: str, **query: str) -> bytes:
        """Read the undecoded answer of a path."""
        return await self._request("GET", path, query=query)

    async def list(self, path: str, **query: str) -> tuple[list[RawObject], str]:
        """Read a complete list, page by page.

        Returns:
            The items, without `kind` and `apiVersion`, and the `resourceVersion` from which to watch for changes.

        Raises:
            Gone: the `continue` token has expired; list again.
        """
        items: list[RawObject] = []
        token: dict[str, str] = {}
        while True:
            body = await self.get_bytes(path, **query, **token, limit=_PAGE)
            try:
                page = _lists.decode(body)
                # A copy: a slice of the page would keep the whole page in memory.
                items += [RawObject.parse(bytes(raw)) for raw in page.items or ()]
            except msgspec.DecodeError as exc:
                raise Unreachable("the API server's answer is not a list") from exc
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            token = {"continue": page.metadata.continue_}

    async def create(self, path: str, body: Object) -> Object:
        """Create an object: POST to its collection.

        Raises:
            AlreadyExists: an object of that name exists.
        """
        return _decoded(await self._request("POST", path, body))

    async def replace(self, path: str, body: Object) -> Object:
        """Replace an object: PUT.

        Raises:
            Conflict: the body's `resourceVersion` is not the latest.
        """
        return _decoded(await self._request("PUT", path, body))

    async def patch(self, path: str, body: Object) -> Object:
        """Patch an object by a strategic merge patch.

        Raises:
            Conflict: the body has a `resourceVersion` that is not the latest.
        """
        return _decoded(await self._request("PATCH", path, body, content_type=_PATCH))

    async def delete(self, path: str, body: Object | None = None) -> None:
        """Delete an object.

        Args:
            path: path of the object.
            body: `DeleteOptions`, for a grace period and preconditions.

        Raises:
            Conflict: a precondition failed.
        """
        await self._request("DELETE", path, body)

    @asynccontextmanager
    async def stream(
        self, path: str, *, idle_timeout: float, **query: str
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Read an answer line by line, without a limit of its duration.

        Args:
            path: path of the request.
            idle_timeout: seconds without a byte after which the connection counts as lost, although the server's
                machine is there.
            query: query of the request.

        Raises:
            Unreachable: also while reading, where the connection breaks or is idle. An incomplete line is dropped.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=idle_timeout)
        with _translated():
            async with self._open(path, query=query, timeout=timeout) as response:
                yield _lines(response)

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()
        if self._session is not None:
            await self._session.close()

    async def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        headers = {} if body is None else {"Content-Type": content_type}
        began, status = monotonic(), 0
        try:
            with _translated():
                headers |= self._authorization()
                async with asyncio.timeout(self._timeout):
                    response = await self._pool.request(
                        method,
                        f"{path}?{urlencode(query)}" if query else path,
                        headers,
                        None if body is None else msgspec.json.encode(body),
                    )
            status = response.status
            if status >= 300:
                raise error_from(status, response.body, retry_after=response.retry_after)
            return response.body
        finally:
            self._observe(method, status, monotonic() - began)

    def _authorization(self) -> dict[str, str]:
        authorization = self._config.authorization()
        return {"Authorization": authorization} if authorization else {}

    @asynccontextmanager
    async def _open(
        self, path: str, *, query: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        if self._session is None:
            tls = self._config.ssl_context or True
            connector = aiohttp.TCPConnector(limit=0, ssl=tls, socket_factory=_socket)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        async with self._session.get(
            self._config.server + path,
            params=query,
            headers=self._authorization(),
            timeout=timeout,
            allow_redirects=False,
            server_hostname=self._config.server_hostname,
        ) as response:
            if response.status >= 300:
                retry_after = response.headers.get("Retry-After")
                raise error_from(response.status, await response.read(), retry_after=retry_after)
            yield response


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return the socket of a watch, which is often idle; a server that is lost is found in a minute."""
    family, kind, protocol, *_ = address
    found = socket.socket(family, kind, protocol)
    keep_open(found)
    return found


@contextmanager
def _translated() -> Iterator[None]:
    """Raise timeouts and errors of the connection as :class:`Unreachable`."""
    try:
        yield
    except TimeoutError as exc:
        raise Unreachable("the API server does not answer in time") from exc
    except ConfigurationError as exc:
        raise Unreachable(f"the credentials for the API server cannot be read: {exc}") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise Unreachable(f"the API server is unreachable: {str(exc) or type(exc).__name__}") from exc


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _decoded(body: bytes) -> Object:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Unreachable("the API server's answer is not JSON") from exc
    if not isinstance(decoded, dict):
        raise Unreachable("the API server's answer is not an object")
    return decoded
