"""Logs of containers: `GET /containerLogs/{namespace}/{pod}/{container}`, the request behind `kubectl logs`."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

import structlog
from aiohttp import web

from broker.dependencies import Dependencies
from broker.errors import ProviderError, ProviderRefused
from broker.kubelet.log_options import LogOptions, LogsError, parse_options
from broker.kubelet.schema import Pod, Pods, parse_pod
from broker.kubelet.tail_logs import TailLogs
from broker.kubernetes.objects import to_micro_time
from broker.pods.phase import TERMINAL

log = structlog.get_logger()


class UnknownContainer(LogsError):
    """No such pod on this node, or no such container in the pod."""

    status = HTTPStatus.NOT_FOUND


class ContainerLogs:
    """Logs of the containers of a node.

    Args:
        dependencies: of the broker.
        pods: the pods of the node; logs of other pods are refused.
    """

    def __init__(self, dependencies: Dependencies, pods: Pods) -> None:
        self._pods = pods
        self._provider = dependencies.provider
        self._clock = dependencies.clock

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Stream a log in chunks, until it ends or the client disconnects."""
        where = request.match_info["namespace"], request.match_info["pod"], request.match_info["container"]
        async with AsyncExitStack() as stack:
            try:
                options = parse_options(request.query)
                self._check(*where)
                chunks = await stack.enter_async_context(self._open(where, options))
            except LogsError as exc:
                return web.Response(status=exc.status, text=f"{exc}\n")
            except ProviderError as exc:
                return self._refusal(exc, *where)
            response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
            await response.prepare(request)
            try:
                async for chunk in limited(chunks, options.limit_bytes):
                    await response.write(chunk)
            except ProviderError as exc:
                # An orderly end of the response would mark the log as complete.
                log.warning("log interrupted by the provider", pod="/".join(where[:2]), error=str(exc))
                if request.transport:
                    request.transport.abort()
            return response

    def _check(self, namespace: str, name: str, container: str) -> None:
        raw = self._pods.find(namespace, name)
        if raw is None:
            raise UnknownContainer(f'pod "{name}" in namespace "{namespace}" is not on this node')
        if container not in parse_pod(raw).containers():
            raise UnknownContainer(f'container "{container}" not found in pod "{name}"')

    @asynccontextmanager
    async def _open(
        self, where: tuple[str, str, str], options: LogOptions
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        if await self._provider.supports("logs"):
            async with self._provider.logs(*where, **query(options)) as chunks:
                yield chunks
        else:
            source = TailLogs(self._provider, where, lambda: self._run(*where))
            async with source.open(options, self._clock()) as chunks:
                yield chunks

    def _run(self, namespace: str, name: str, container: str) -> object | None:
        """Return the identity of the current run of a container; None after its end."""
        raw = self._pods.find(namespace, name)
        return run_of(parse_pod(raw), container) if raw else None

    def _refusal(self, error: ProviderError, namespace: str, name: str, container: str) -> web.Response:
        if not isinstance(error, ProviderRefused):
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"{error}\n")
        if error.code == HTTPStatus.NOT_FOUND:
            # A pod that is bound to this node is about to be created at the provider. One that has ended was
            # rejected, or ended by the broker: by its deadline, or by an eviction.
            raw = self._pods.find(namespace, name)
            missing = "the provider does not have the pod"
            if not raw or parse_pod(raw).status.phase not in TERMINAL:
                missing += " yet"
            text = f'container "{container}" in pod "{name}" has no logs: {missing}\n'
        else:
            text = f"{error.message or error}\n"
        return web.Response(status=HTTPStatus.BAD_REQUEST, text=text)


def run_of(pod: Pod, container: str) -> tuple[str, int] | None:
    """Return UID of the pod and restart count, which identify a run of a container; None where it has ended."""
    if pod.status.phase in TERMINAL:
        return None
    for status in pod.container_statuses():
        if status.name == container:
            return None if status.state.terminated else (pod.metadata.uid, status.restart_count)
    return pod.metadata.uid, 0


def query(options: LogOptions) -> dict[str, str]:
    """Return the query for a provider that supports more than `tail`; the limit of bytes is applied here."""
    values = {
        "tail": options.tail,
        "sinceSeconds": options.since_seconds,
        "sinceTime": to_micro_time(options.since_time) if options.since_time else None,
        "follow": "true" if options.follow else None,
        "previous": "true" if options.previous else None,
        "timestamps": "true" if options.timestamps else None,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


async def limited(chunks: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """Yield chunks up to a total of `limit` bytes; None: without a limit."""
    left = limit
    async for chunk in chunks:
        if left is not None and len(chunk) >= left:
            yield chunk[:left]
            return
        yield chunk
        left = left - len(chunk) if left is not None else None
