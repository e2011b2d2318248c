"""The server of the kubelet API: HTTPS, and plain HTTP for metrics if configured."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.dependencies import Dependencies
from broker.kubelet.api import KubeletApi
from broker.kubelet.auth import Authenticator, Authorizer, guard
from broker.kubelet.certificates import Certificates, KeyPair, read_pem, self_signed
from broker.kubelet.client_ca import ClientCA
from broker.kubelet.health import NodeHealth
from broker.kubelet.node_paths import NodePaths
from broker.kubelet.schema import PodsOfNodes
from broker.kubelet.stats.source import UsageSources
from broker.kubelet.streams import refuse_with_status
from broker.kubernetes.client import Client
from broker.metrics import Metrics
from broker.settings import Settings
from broker.streaming.sessions import Sessions

STOP_TIMEOUT = 1.0
"""Seconds for open requests when the server stops; followed logs have no end."""
REQUEST_TIMEOUT = 30.0
"""Seconds for a request to arrive, and without a byte of a response that the client takes. A TLS handshake has the
60 seconds of asyncio."""
BODY_TIMEOUT = 10.0
"""Seconds for the rest of a body that no handler reads."""
MAX_REQUEST_LINE = 1 << 20
"""Bytes of a request line, which has the command of an exec. Go's servers, such as a kubelet, accept as many."""
_PART = 16 * 1024
"""Bytes of a response that are sent at once, as a TLS record. OpenSSL keeps a buffer of a third more."""
_SHORT = 4 * 1024
"""Bytes of a response that an idle connection may keep."""


class KubeletServer:
    """The running servers.

    Attributes:
        port: port of the HTTPS server.
        metrics_port: port of the plain HTTP server; None where it is disabled.
    """

    def __init__(
        self, runners: Sequence[web.AppRunner], sessions: Sessions, tasks: Sequence[asyncio.Task[None]]
    ) -> None:
        self._runners = runners
        self._sessions = sessions
        self._tasks = tasks
        ports: list[int] = [runner.addresses[0][1] for runner in runners]
        self.port = ports[0]
        self.metrics_port = ports[1] if len(ports) > 1 else None

    async def close(self) -> None:
        """End the sessions with a Failure, stop listening, and cancel the requests in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._sessions.stop()
        for runner in self._runners:
            await runner.cleanup()


async def serve(
    dependencies: Dependencies,
    *,
    pods: PodsOfNodes,
    health: Callable[[], NodeHealth],
    addresses: Sequence[str],
    metrics: Metrics,
    usage: UsageSources,
) -> KubeletServer:
    """Start the kubelet API.

    Args:
        dependencies: of the broker.
        pods: the pods of the nodes.
        health: returns the health of the broker.
        addresses: IPs and DNS names, beside the node's name, for a self-signed certificate.
        metrics: the metrics of this process.
        usage: the usage of the nodes.

    Raises:
        ConfigurationError: a certificate is invalid.
        OSError: a port cannot be opened.
    """
    settings, client = dependencies.settings, dependencies.client
    sessions = Sessions(
        limit=settings.stream_sessions, idle_timeout=settings.stream_idle_timeout, counters=metrics
    )
    paths = NodePaths(dependencies.nodes, pods, only=settings.only_node)
    api = KubeletApi(
        dependencies, pods, paths, sessions=sessions, health=health, registry=metrics.registry, usage=usage
    )
    authority = ClientCA(client)
    certificates = Certificates(
        _serving(settings, addresses, now=dependencies.clock()),
        partial(read_pem, settings.client_ca_file) if settings.client_ca_file else lambda: authority.pem,
    )
    guards = [_guard(settings, client, paths)] if settings.authentication else []
    app = web.Application(middlewares=[drop_disconnected, _send_in_parts, refuse_with_status, *guards])
    app.add_routes([*api.routes(), *api.open_routes()])
    runners = [await _listen(app, settings.kubelet_host, settings.kubelet_port, certificates.context)]
    if settings.metrics_addr:
        plain = web.Application()
        plain.add_routes(api.open_routes())
        address = urlsplit(f"//{settings.metrics_addr}")
        try:
            runners.append(await _listen(plain, address.hostname, address.port or 0))
        except OSError:
            await runners[0].cleanup()
            raise
    tasks = [asyncio.create_task(sessions.run(), name="sessions")]
    if settings.authentication and not settings.client_ca_file:
        tasks.append(asyncio.create_task(authority.watch(certificates.reload), name="client-ca"))
    return KubeletServer(runners, sessions, tasks)


def _serving(settings: Settings, addresses: Sequence[str], *, now: datetime) -> Callable[[], KeyPair]:
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate and key:
        return lambda: KeyPair(read_pem(certificate), read_pem(key))
    pair = self_signed(settings.node_name, addresses, now=now)
    return lambda: pair


@web.middleware
async def drop_disconnected(request: web.Request, handler: Handler) -> web.StreamResponse:
    """End the request of a client that has gone before its handler was cancelled: that is no error of the API."""
    try:
        return await handler(request)
    except ConnectionResetError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response()


@web.middleware
async def _send_in_parts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send a long body in parts, and free it: aiohttp keeps a response until the next one of its connection.

    A client such as metrics-server opens hundreds of connections to a fleet. An idle one takes 60 to 80 KB;
    without this, 60 KB and more than twice its longest response.
    """
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(body := response.body, bytes) and len(body) > _SHORT:
        response.headers["Content-Length"] = str(len(body))
        response.body = _parts(body)
    return response


async def _parts(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PART):
        yield body[start : start + _PART]


def _guard(settings: Settings, client: Client, paths: NodePaths) -> Middleware:
    monotonic = asyncio.get_running_loop().time
    authorizer = Authorizer(client, monotonic) if settings.authorization else None
    return guard(Authenticator(client, monotonic), authorizer, paths)


async def _listen(
    app: web.Application, host: str | None, port: int, context: ssl.SSLContext | None = None
) -> web.AppRunner:
    # The handler of a client that disconnects is cancelled, and with it the request to the provider.
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=STOP_TIMEOUT,
        keepalive_timeout=REQUEST_TIMEOUT,  # for a request that is incomplete too
        lingering_time=BODY_TIMEOUT,
        max_line_size=MAX_REQUEST_LINE,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, _socket(host, port), ssl_context=context).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _socket(host: str | None, port: int) -> socket.socket:
    """Open one socket for both address families where no host is given, so that port 0 selects one port."""
    if host is None and socket.has_dualstack_ipv6():
        listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
        listener = socket.create_server((host or "", port), family=family)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        # The kernel ends a connection whose client takes nothing for that long.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(REQUEST_TIMEOUT * 1000))
    return listener
