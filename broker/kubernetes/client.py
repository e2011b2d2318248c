"""A client of one API server: the few verbs, JSON in and out."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic

import aiohttp
import msgspec

from broker.errors import ConfigurationError
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.errors import ApiError, Unreachable, error_from
from broker.kubernetes.objects import Object, RawObject

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
    """One API server.

    Every call raises :class:`broker.kubernetes.errors.ApiError`, of the kind that fits, and nothing of the
    library below; none retries by itself.

    Args:
        config: where the server is, and who asks.
        user_agent: how the server's logs and audit name this client.
        timeout: seconds that a call may take in all.
        observe: is called after each request with its method, the answer's status (0: there was none) and the
            seconds that it took.
        connections: how many requests and watches are under way at once; others wait for their turn. Each takes
            some 300 KB, most of it a buffer for TLS, and more of them make nothing faster.
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
        self._connections = connections
        self._observe = observe
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, **query: str) -> Object:
        """Read an object."""
        return _decoded(await self.get_bytes(path, **query))

    async def get_bytes(self, path: str, **query: str) -> bytes:
        """Read what a path has, undecoded."""
        return await self._request("GET", path, query=query)

    async def list(self, path: str, **query: str) -> tuple[list[RawObject], str]:
        """Read a whole list, page by page.

        Returns:
            The items, and the resourceVersion from which to watch for changes. Items do not say their kind: the
            list does.

        Raises:
            Gone: the list changed for so long that the next page is no longer to be had; begin again.
        """
        items: list[RawObject] = []
        token: dict[str, str] = {}
        while True:
            body = await self.get_bytes(path, **query, **token, limit=_PAGE)
            try:
                page = _lists.decode(body)
                # Bytes of their own: a slice of the page would keep the whole page in memory.
                items += [RawObject.parse(bytes(raw)) for raw in page.items or ()]
            except msgspec.DecodeError as exc:
                raise Unreachable("what answers for the API server gives no list") from exc
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            token = {"continue": page.metadata.continue_}

    async def create(self, path: str, body: Object) -> Object:
        """Create an object: POST to its collection.

        Raises:
            AlreadyExists: there is one of that name.
        """
        return _decoded(await self._request("POST", path, body))

    async def replace(self, path: str, body: Object) -> Object:
        """Replace an object: PUT.

        Raises:
            Conflict: the body's resourceVersion is not the newest.
        """
        return _decoded(await self._request("PUT", path, body))

    async def patch(self, path: str, body: Object) -> Object:
        """Change some fields of an object, by a strategic merge patch.

        Raises:
            Conflict: the body has a resourceVersion that is not the newest.
        """
        return _decoded(await self._request("PATCH", path, body, content_type=_PATCH))

    async def delete(self, path: str, body: Object | None = None) -> Object:
        """Delete an object.

        Args:
            path: the object's.
            body: a `DeleteOptions`, for a grace period and preconditions.

        Raises:
            Conflict: a precondition does not hold.
        """
        return _decoded(await self._request("DELETE", path, body))

    @asynccontextmanager
    async def stream(
        self, path: str, *, idle_timeout: float, **query: str
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Read an endless answer line by line, on a connection of its own.

        Args:
            path: what to read.
            idle_timeout: seconds without a byte after which the server counts as lost.
            query: the query.

        Raises:
            Unreachable: also while reading, where the connection breaks or stays silent. A line that was cut
                short is not given.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=idle_timeout)
        async with _translated(), self._open("GET", path, query=query, timeout=timeout) as response:
            yield _lines(response)

    async def close(self) -> None:
        """Close every connection."""
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
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        began, status = monotonic(), 0
        try:
            async with (
                _translated(),
                self._open(
                    method, path, body, query=query, content_type=content_type, timeout=timeout
                ) as response,
            ):
                answer = await response.read()
                status = response.status
                return answer
        except ApiError as exc:
            status = exc.status
            raise
        finally:
            self._observe(method, status, monotonic() - began)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._config.ssl_context or True)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        headers = {} if body is None else {"Content-Type": content_type}
        if authorization := self._config.authorization():
            headers["Authorization"] = authorization
        async with self._session.request(
            method,
            self._config.server + path,
            params=query,
            data=None if body is None else msgspec.json.encode(body),
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            server_hostname=self._config.server_hostname,
        ) as response:
            if response.status >= 300:
                retry_after = response.headers.get("Retry-After")
                raise error_from(response.status, await response.read(), retry_after=retry_after)
            yield response


@asynccontextmanager
async def _translated() -> AsyncGenerator[None, None]:
    """Raise what goes wrong on the way as :class:`Unreachable`."""
    try:
        yield
    except TimeoutError as exc:
        raise Unreachable("the API server does not answer in time") from exc
    except ConfigurationError as exc:
        raise Unreachable(f"the API server cannot be asked: {exc}") from exc
    except aiohttp.ClientError as exc:
        raise Unreachable(f"the API server is out of reach: {str(exc) or type(exc).__name__}") from exc


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
        raise Unreachable("what answers for the API server does not speak JSON") from exc
    if not isinstance(decoded, dict):
        raise Unreachable("what answers for the API server gives no object")
    return decoded
