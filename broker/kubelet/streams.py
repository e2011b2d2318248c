"""`/exec`, `/attach` and `/portForward`: the requests behind `kubectl exec`, `attach`, `cp` and `port-forward`.

The provider's side is opened first, so that its refusal reaches the client as the answer to the upgrade. Every
refusal is a `Status` in JSON: kubectl reads any other text as YAML, and prints nothing for one with a colon.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.dependencies import Dependencies
from broker.errors import ProviderError, ProviderRefused
from broker.kubelet.auth import is_stream
from broker.kubelet.schema import Container, Pod, PodsOfNodes, parse_pod
from broker.streaming.connection import keep_open
from broker.streaming.peer import ClientPeer, PeerGone, StreamOptions
from broker.streaming.sessions import Sessions, Target, TooManySessions
from broker.streaming.spdy_client import SpdyClient
from broker.streaming.spdy_ports import serve_spdy_ports
from broker.streaming.spdy_upgrade import accepted_versions, is_tunnel
from broker.streaming.status import Status
from broker.streaming.websocket import WebSocketClient, is_websocket
from broker.streaming.websocket_ports import parse_ports, serve_ports
from broker.types import PodReference


class ContainerStreams:
    """Streams of the pods of a node.

    Args:
        dependencies: of the broker.
        pods: the pods of the node; streams of other pods are refused.
        sessions: the sessions in progress.
    """

    def __init__(self, dependencies: Dependencies, pods: PodsOfNodes, sessions: Sessions) -> None:
        self._provider = dependencies.provider
        self._pods = pods
        self._sessions = sessions

    def routes(self) -> Iterable[web.RouteDef]:
        """Yield the routes. A path with a UID is that of a client that means this very pod."""
        container = ("/{namespace}/{pod}/{container}", "/{namespace}/{pod}/{uid}/{container}")
        pod = ("/{namespace}/{pod}", "/{namespace}/{pod}/{uid}")
        for verb, paths, handler in (
            ("exec", container, self.exec),
            ("attach", container, self.attach),
            ("portForward", pod, self.port_forward),
        ):
            for path in paths:
                yield web.get(f"/{verb}{path}", handler, allow_head=False)
                yield web.post(f"/{verb}{path}", handler)

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """Run a command in a container."""
        options = parse_options(request.query)
        _, target = self._find(request, "exec")
        return await self._serve(request, target, options, [*_query(target, options), *parse_command(request)])

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """Connect to the process of a container; it has a terminal or none, whatever the client asks for."""
        options = parse_options(request.query)
        container, target = self._find(request, "attach")
        return await self._serve(request, target, options, _query(target, options._replace(tty=container.tty)))

    async def port_forward(self, request: web.Request) -> web.StreamResponse:
        """Connect to ports of a pod. The provider is asked for each connection, after the upgrade."""
        pod = self._find_pod(request)
        if pod is None:
            raise web.HTTPNotFound(text="pod not found")
        await self._check_support(pod.metadata.namespace, pod.metadata.name)
        keep_open(request.get_extra_info("socket"))
        forward = partial(self._forward, pod.metadata, request.transport)
        if is_tunnel(request) or not is_websocket(request):
            return await serve_spdy_ports(request, forward, idle_timeout=self._sessions.idle_timeout)
        try:
            ports = parse_ports(request.query.getall("ports", []))
        except ValueError as exc:
            raise web.HTTPBadRequest(text=str(exc)) from exc
        return await serve_ports(request, ports, forward)

    async def _forward(
        self, pod: PodReference, transport: asyncio.Transport | None, port: int, client: ClientPeer
    ) -> None:
        """Serve a connection to a port of a pod; a refusal is its failure, and not that of other connections."""
        target = Target("portForward", pod.namespace, pod.name, str(port))
        query = [("namespace", pod.namespace), ("podName", pod.name), ("port", str(port))]
        try:
            with self._sessions.open(target) as session:
                provider = await self._provider.stream("/portForward", query)
                await session.relay(client, provider, transport)
        except (TooManySessions, ProviderError) as exc:
            await client.finish(Status.failure(_message(exc)))

    async def _serve(
        self, request: web.Request, target: Target, options: StreamOptions, query: list[tuple[str, str]]
    ) -> web.StreamResponse:
        await self._check_support(target.namespace, target.pod)
        with self._sessions.open(target) as session:
            provider = await self._provider.stream(f"/{target.kind}", query)
            try:
                async with self._accept(request, options) as (response, client):
                    await session.relay(client, provider, request.transport)
            finally:
                await provider.close()
        return response

    @asynccontextmanager
    async def _accept(
        self, request: web.Request, options: StreamOptions
    ) -> AsyncIterator[tuple[web.StreamResponse, ClientPeer]]:
        """Answer the upgrade in the protocol that the client asks for."""
        keep_open(request.get_extra_info("socket"))
        if is_websocket(request):
            yield await WebSocketClient.accept(request, options, close_timeout=self._sessions.idle_timeout)
        else:
            async with SpdyClient.accept(request, options) as accepted:
                yield accepted

    async def _check_support(self, namespace: str, pod: str) -> None:
        if not await self._provider.supports("streams"):
            node = self._pods.node_of(namespace, pod)
            raise web.HTTPNotImplemented(
                text=f"exec, attach and port-forward are not supported on node {node}: "
                "its provider does not have the extension streams"
            )

    def _find(self, request: web.Request, kind: str) -> tuple[Container, Target]:
        """Return the container of a request.

        Raises:
            web.HTTPNotFound: the pod has no such container, or its UID is another one.
        """
        name = request.match_info["container"]
        pod = self._find_pod(request)
        container = pod.containers().get(name) if pod else None
        if pod is None or container is None:
            raise web.HTTPNotFound(text=f'container not found ("{name}")')
        return container, Target(kind, pod.metadata.namespace, pod.metadata.name, name)

    def _find_pod(self, request: web.Request) -> Pod | None:
        """Return the pod of a request; None where its UID is another one.

        Raises:
            web.HTTPNotFound: there is no pod of this name.
        """
        raw = self._pods.find(request.match_info["namespace"], request.match_info["pod"])
        if raw is None:
            raise web.HTTPNotFound(text="pod does not exist")
        pod = parse_pod(raw)
        return pod if request.match_info.get("uid", pod.metadata.uid) == pod.metadata.uid else None


def parse_options(query: Mapping[str, str]) -> StreamOptions:
    """Return the streams that a client asks for; with a terminal there is no standard error, as at a kubelet.

    Raises:
        web.HTTPBadRequest: no stream.
    """
    stdin, stdout, stderr, tty = (query.get(name) == "1" for name in ("input", "output", "error", "tty"))
    stderr = stderr and not tty
    if not (stdin or stdout or stderr):
        raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr")
    return StreamOptions(stdin, stdout, stderr, tty)


def parse_command(request: web.Request) -> list[tuple[str, str]]:
    """Return the words of a command, each with the name of its parameter.

    Raises:
        web.HTTPBadRequest: a word is not UTF-8. A kubelet cannot pass it on to its container runtime either.
    """
    try:
        query = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as exc:
        raise web.HTTPBadRequest(text="the command is not UTF-8") from exc
    return [(name, word) for name, word in query if name == "command"]


def _query(target: Target, options: StreamOptions) -> list[tuple[str, str]]:
    """Return the parameters of a request to the provider."""
    where = [("namespace", target.namespace), ("podName", target.pod), ("containerName", target.part)]
    options = options._replace(stderr=options.stderr and not options.tty)
    return [*where, *((name, "true") for name, wanted in options._asdict().items() if wanted)]


@web.middleware
async def refuse_with_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a refused stream with a `Status`: refusals of authorization and of the router, too."""
    if not is_stream(request.path):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as exc:
        return _answer(exc.status, (exc.text or exc.reason).strip(), accepted_versions(exc.headers))
    except (TooManySessions, ProviderError) as exc:
        return _answer(_status_of(exc), _message(exc))
    except PeerGone:
        return web.Response()  # for nobody: the client has disconnected


def _message(error: Exception) -> str:
    """Return the text of a refusal for the client; the provider's own text where it gives one."""
    return (error.message if isinstance(error, ProviderRefused) else "") or str(error)


def _status_of(error: Exception) -> int:
    match error:
        case TooManySessions():
            return HTTPStatus.TOO_MANY_REQUESTS
        case ProviderRefused() if error.code < HTTPStatus.BAD_REQUEST or error.code == HTTPStatus.UNAUTHORIZED:
            return HTTPStatus.BAD_GATEWAY  # no upgrade, or a wrong token of the broker: not the client's fault
        case ProviderRefused():
            return error.code
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE


def _answer(status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> web.Response:
    body = Status.failure(message, status).raw
    return web.Response(status=status, body=body, headers=[("Content-Type", "application/json"), *headers])
