"""A client of any provider of the contract, in any language.

What is taken from an answer is its status code: reason phrases, bodies of writes and content types differ from
provider to provider.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec

from broker.errors import BrokerError

Object = dict[str, Any]
T = TypeVar("T")

_MESSAGE_LIMIT = 1000
_SHORTEST_SECRET = 4
_NO_SUCH_PATH = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
# Servers close idle connections, some after five seconds: who leaves first never writes into a closing one.
_IDLE = 3.0


class ProviderError(BrokerError):
    """The provider did not do what it was asked for."""


class ProviderUnavailable(ProviderError):
    """No usable answer: no connection, none in time, 429, 5xx. Ask again; what was asked for may have been done.

    Attributes:
        retry_after: seconds for which the provider asks to be left alone, where it does.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    """Any other status that is no success.

    Attributes:
        code: the HTTP status.
        message: what the provider says about it, without any value of an environment variable that was sent.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"the provider answers {code}: {message}" if message else f"the provider answers {code}")
        self.code = code
        self.message = message


class PodReference(msgspec.Struct, frozen=True):
    """Which pod."""

    namespace: str
    name: str
    uid: str = ""


class StatusChange(PodReference, frozen=True, kw_only=True):
    """The status that a pod has now, in JSON."""

    status: msgspec.Raw


class Changes(msgspec.Struct, frozen=True):
    """What has changed, and the revision to ask from next time."""

    revision: int | str
    statuses: list[StatusChange] = []
    deleted: list[PodReference] = []


class Provider:
    """One provider.

    Every method raises :class:`ProviderUnavailable` or :class:`ProviderRefused`; none retries by itself.

    Args:
        url: where it is, such as `http://127.0.0.1:3000`, with a path where it has one.
        token: what it wants as a bearer token.
        timeout: seconds that an answer may take in all.
        observe: is called after each request with its path, the status of the answer (0: there was none) and the
            seconds that it took; not for logs, which take as long as somebody reads them.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._observe = observe
        self._session: aiohttp.ClientSession | None = None
        self._has_extensions: bool | None = None

    async def create(self, pod: Object) -> None:
        """Have the provider take a pod on."""
        await self._write("POST", "/createPod", pod)

    async def update(self, pod: Object) -> None:
        """Have the provider change a pod."""
        await self._write("PUT", "/updatePod", pod)

    async def delete(self, pod: Object) -> bool:
        """Have the provider let a pod go.

        Returns:
            False where there was no such pod.
        """
        try:
            await self._write("DELETE", "/deletePod", pod)
        except ProviderRefused as exc:
            if exc.code == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    async def get(self, namespace: str, name: str) -> Object | None:
        """Read a pod; None where the provider has none, or no such path."""
        body = await self._find("/getPod", namespace, name)
        if body is None:
            return None
        pod = _decoded(body, dict[str, Any], "/getPod")
        if not _is_pod(pod):
            raise ProviderUnavailable("the provider's answer to /getPod is no pod")
        return pod

    async def status(self, namespace: str, name: str) -> bytes | None:
        """Read the status of a pod, in JSON; None where the provider has no such pod."""
        body = await self._find("/getPodStatus", namespace, name)
        if body is not None:
            _decoded(body, dict[str, msgspec.Raw], "/getPodStatus")
        return body

    async def pods(self) -> list[Object]:
        """Read every pod."""
        return [pod for pod in await self._list("/getPods") if _is_pod(pod)]

    async def capacity(self) -> dict[str, str]:
        """Read what the node has: resource name → quantity."""
        return _decoded(await self._get("/capacity"), dict[str, str], "/capacity")

    async def conditions(self) -> list[Object]:
        """Read the conditions of the node, each a `NodeCondition`."""
        return await self._list("/nodeConditions")

    async def addresses(self) -> list[Object]:
        """Read the addresses of the node, each a `NodeAddress`."""
        return await self._list("/nodeAddresses")

    async def statuses_since(self, revision: int | str, *, wait: float) -> Changes | None:
        """Wait until the status of any pod changes.

        Args:
            revision: the one that the last answer had; 0 for the status of every pod, at once.
            wait: seconds after which the provider answers that nothing has changed; at most 60.

        Returns:
            None where this provider has no such path, as it is no part of the contract's ten.
        """
        query = {"since": str(revision), "wait": f"{wait:g}"}
        answer = await self._request("GET", "/podStatuses", query=query, timeout=self._timeout + wait)
        if answer.status in _NO_SUCH_PATH:
            self._has_extensions = False
            return None
        _check(answer)
        try:
            changes = _decoded(answer.body, Changes, "/podStatuses")
        except ProviderUnavailable:  # what answers to any path with something
            self._has_extensions = False
            return None
        self._has_extensions = True
        return changes

    async def has_extensions(self) -> bool:
        """Tell whether the provider can do more than the contract's ten paths and their parameters."""
        if self._has_extensions is None:
            await self.statuses_since(0, wait=0)
        return bool(self._has_extensions)

    @asynccontextmanager
    async def logs(
        self, namespace: str, pod: str, container: str, **query: str
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Read what a container wrote, piece by piece, for as long as the provider sends.

        Args:
            namespace: the pod's.
            pod: its name.
            container: the container's.
            query: `tail`, and the extensions where the provider has them.

        Raises:
            ProviderError: also while reading.
        """
        where = {"namespace": namespace, "podName": pod, "containerName": container, **query}
        async with AsyncExitStack() as stack:
            with _translated("GET /getContainerLogs"):
                async with asyncio.timeout(self._timeout):
                    response = await stack.enter_async_context(
                        self._send(
                            "GET", "/getContainerLogs", query=where, timeout=aiohttp.ClientTimeout(total=None)
                        )
                    )
                    if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                        _check(_Answer(response.status, "", await response.read()))
            yield _chunks(response)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _write(self, method: str, path: str, pod: Object) -> None:
        _check(await self._request(method, path, body=pod), sent=pod)

    async def _find(self, path: str, namespace: str, name: str) -> bytes | None:
        """Read something of a pod; None for 404, and for a success that has nothing, as some providers say it."""
        answer = await self._request("GET", path, query={"namespace": namespace, "name": name})
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        _check(answer)
        return answer.body if answer.body.strip() not in (b"", b"null") else None

    async def _get(self, path: str) -> bytes:
        answer = await self._request("GET", path)
        _check(answer)
        return answer.body

    async def _list(self, path: str) -> list[Object]:
        body = await self._get(path)
        # What Go writes for a list that nobody has put anything in is `null`.
        return _decoded(body, list[dict[str, Any]], path) if body.strip() != b"null" else []

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        timeout: float | None = None,
    ) -> "_Answer":
        limit = aiohttp.ClientTimeout(total=timeout or self._timeout)
        began, status = monotonic(), 0
        try:
            with _translated(f"{method} {path}"):
                async with self._send(method, path, query=query, body=body, timeout=limit) as response:
                    # Of a write, too: a connection with a body unread cannot be used again.
                    content, status = await response.read(), response.status
                    return _Answer(status, response.headers.get("Retry-After", ""), content)
        finally:
            self._observe(path, status, monotonic() - began)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Object | None = None,
        timeout: aiohttp.ClientTimeout,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self._session.request(
            method,
            self._url + path,
            params=query,
            data=None if body is None else msgspec.json.encode(body),
            headers=None if body is None else {"Content-Type": "application/json"},
            timeout=timeout,
            allow_redirects=False,  # a client that follows turns a POST into a GET, which changes nothing
        )


class _Answer(NamedTuple):
    status: int
    retry_after: str
    body: bytes


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise what goes wrong on the way as :class:`ProviderUnavailable`."""
    try:
        yield
    except TimeoutError as exc:
        raise ProviderUnavailable(f"the provider does not answer {what} in time") from exc
    except aiohttp.ClientError as exc:
        raise ProviderUnavailable(f"the provider is out of reach: {str(exc) or type(exc).__name__}") from exc


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _translated("with the rest of a log"):
        async for chunk in response.content.iter_any():
            yield chunk


def _check(answer: _Answer, *, sent: Object | None = None) -> None:
    """Raise the error of an answer that is no success.

    Args:
        answer: the answer.
        sent: the pod that was sent; no value from its environment gets into the error.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        seconds = float(answer.retry_after) if answer.retry_after.isdigit() else None
        raise ProviderUnavailable(f"the provider answers {answer.status}", seconds)
    message = _message(answer.body)
    for value in sorted(_environment_values(sent or {}), key=len, reverse=True):
        message = message.replace(value, "…")
    raise ProviderRefused(answer.status, " ".join(message.split())[:_MESSAGE_LIMIT])


def _message(body: bytes) -> str:
    """Find what a body says to a person: `{"error": {"message": …}}`, `{"message": …}`, or any text but a page."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode(errors="replace")
        return "" if text.lstrip().startswith("<") else text
    for key in ("error", "message", "detail"):
        if isinstance(told, dict):
            told = told.get(key, told)
    return told if isinstance(told, str) else ""


def _environment_values(pod: Object) -> frozenset[str]:
    """Give every value in the environment of a pod's containers that is long enough to be told from other text."""
    lists = [field for field in (pod.get("spec") or {}).values() if isinstance(field, list)]
    return frozenset(
        value
        for containers in lists
        for container in containers
        if isinstance(container, dict)
        for variable in container.get("env") or ()
        if len(value := str(variable.get("value") or "")) >= _SHORTEST_SECRET
    )


def _is_pod(pod: Object) -> bool:
    metadata = pod.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("name") and metadata.get("namespace"))


def _decoded(body: bytes, type_: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProviderUnavailable(f"the provider's answer to {path} is not what the contract says: {exc}") from exc
