"""Logs of containers: `GET /containerLogs/{namespace}/{pod}/{container}`, which `kubectl logs` ends up at."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from http import HTTPStatus

import structlog
from aiohttp import web

from broker.kubelet.log_options import LogOptions, LogsError, parse_options
from broker.kubelet.schema import Pod, Pods, parse_pod
from broker.kubelet.tail_logs import TailLogs
from broker.kubernetes.objects import to_micro_time
from broker.pods.status_merge import TERMINAL
from broker.provider import Provider, ProviderError, ProviderRefused

log = structlog.get_logger()


class UnknownContainer(LogsError):
    """There is no such pod on this node, or no such container in it."""

    status = HTTPStatus.NOT_FOUND


class ContainerLogs:
    """The logs of the containers of a node.

    Args:
        pods: what Kubernetes has on this node; logs of nothing else are given.
        provider: where logs come from.
        clock: gives the time.
    """

    def __init__(self, pods: Pods, provider: Provider, clock: Callable[[], datetime]) -> None:
        self._pods = pods
        self._provider = provider
        self._clock = clock

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send the logs as they come, each piece at once, until they end or the client goes."""
        where = request.match_info["namespace"], request.match_info["pod"], request.match_info["container"]
        async with AsyncExitStack() as stack:
            try:
                options = parse_options(request.query)
                self._check(*where)
                chunks = await stack.enter_async_context(self._open(where, options))
            except LogsError as exc:
                return web.Response(status=exc.status, text=f"{exc}\n")
            except ProviderError as exc:
                return _refusal(exc, where)
            response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
            await response.prepare(request)
            try:
                async for chunk in limited(chunks, options.limit_bytes):
                    await response.write(chunk)
            except ProviderError as exc:
                # A proper end would say that this was all.
                log.warning("the provider broke off a log", pod="/".join(where[:2]), error=str(exc))
                if request.transport:
                    request.transport.abort()
            return response

    def _check(self, namespace: str, name: str, container: str) -> None:
        raw = self._pods.find(namespace, name)
        if raw is None:
            raise UnknownContainer(f'pod "{name}" in namespace "{namespace}" is not on this node')
        if container not in parse_pod(raw).container_names():
            raise UnknownContainer(f'container "{container}" not found in pod "{name}"')

    @asynccontextmanager
    async def _open(
        self, where: tuple[str, str, str], options: LogOptions
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        if await self._provider.has_extensions():
            async with self._provider.logs(*where, **query(options)) as chunks:
                yield chunks
        else:
            source = TailLogs(self._provider, where, lambda: self._run(*where))
            async with source.open(options, self._clock()) as chunks:
                yield chunks

    def _run(self, namespace: str, name: str, container: str) -> object | None:
        """Tell which run of a container is under way: which pod, and how often it was restarted."""
        raw = self._pods.find(namespace, name)
        return run_of(parse_pod(raw), container) if raw else None


def run_of(pod: Pod, container: str) -> tuple[str, int] | None:
    """Tell a run of a container from those before and after; None where it has ended."""
    if pod.status.phase in TERMINAL:
        return None
    for status in pod.container_statuses():
        if status.name == container:
            return None if status.state.terminated else (pod.metadata.uid, status.restart_count)
    return pod.metadata.uid, 0


def query(options: LogOptions) -> dict[str, str]:
    """Write options as a provider takes them that has more than `tail`; the limit is kept to here."""
    asked = {
        "tail": options.tail,
        "sinceSeconds": options.since_seconds,
        "sinceTime": to_micro_time(options.since_time) if options.since_time else None,
        "follow": "true" if options.follow else None,
        "previous": "true" if options.previous else None,
        "timestamps": "true" if options.timestamps else None,
    }
    return {name: str(value) for name, value in asked.items() if value is not None}


async def limited(chunks: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """Give so many bytes and no more."""
    left = limit
    async for chunk in chunks:
        if left is not None and len(chunk) >= left:
            yield chunk[:left]
            return
        yield chunk
        left = left - len(chunk) if left is not None else None


def _refusal(error: ProviderError, where: tuple[str, str, str]) -> web.Response:
    if not isinstance(error, ProviderRefused):
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"{error}\n")
    if error.code == HTTPStatus.NOT_FOUND:
        # Kubernetes has the pod on this node, so the provider is still to get it, or to get it again.
        _, pod, container = where
        text = f'container "{container}" in pod "{pod}" has no logs: the provider does not have it now\n'
    else:
        text = f"{error.message or error}\n"
    return web.Response(status=HTTPStatus.BAD_REQUEST, text=text)
