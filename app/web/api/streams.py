"""Exec, attach and port-forward: requests that become WebSockets."""

import os
from collections.abc import Callable
from typing import Annotated

import structlog
from flask import Blueprint, Flask, current_app, request
from pydantic import Field
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from werkzeug.exceptions import BadRequest, HTTPException

from app.core.errors import InvalidRequest, NotSupported
from app.runtimes import Session, StreamOptions
from app.services import Services, get_services
from app.web.query import Flag, Name, Number, Query
from app.web.responses import Response
from app.web.streams.channels import SUBPROTOCOL
from app.web.streams.copier import Ending
from app.web.streams.server import StreamServer, Upgrade

blueprint = Blueprint("streams", __name__)

log = structlog.get_logger("app")


class ContainerQuery(Query):
    """The parameters of `/exec` and `/attach`, except `command`, which is repeated."""

    namespace: Name
    pod_name: Name
    container_name: Name
    stdin: Flag = False
    stdout: Flag = False
    stderr: Flag = False
    tty: Flag = False

    def options(self) -> StreamOptions:
        """Return the streams that the client asks for.

        Raises:
            InvalidRequest: none of them.
        """
        if not (self.stdin or self.stdout or self.stderr):
            raise InvalidRequest("at least one of stdin, stdout and stderr must be true", field="stdin")
        return StreamOptions(
            stdin=self.stdin, stdout=self.stdout, stderr=self.stderr and not self.tty, tty=self.tty
        )


class PortQuery(Query):
    """The parameters of `/portForward`."""

    namespace: Name
    pod_name: Name
    port: Annotated[Number, Field(ge=1, le=65535)]


class UpgradeRequired(HTTPException):
    """The request is no WebSocket handshake."""

    code = 426
    description = f"this path is a WebSocket; connect with the subprotocol {SUBPROTOCOL}"

    def get_headers(self, *args: object, **kwargs: object) -> list[tuple[str, str]]:
        """Return the headers, with `Upgrade`."""
        return [("Upgrade", "websocket")]


def init_app(app: Flask) -> None:
    """Create the server of this application's streams."""
    services: Services = app.extensions["services"]
    app.extensions["streams"] = StreamServer(services.settings.stream_sessions)


@blueprint.get("/exec")
@blueprint.get("/exec", websocket=True)
def exec_() -> Response:
    """Execute a command in a container."""
    query = ContainerQuery.from_request()
    options = query.options()
    command = request.args.getlist("command")
    if not command:
        raise InvalidRequest("required", field="command")
    return _upgrade(
        lambda: get_services().streams.exec(
            query.namespace, query.pod_name, query.container_name, command, options=options
        )
    )


@blueprint.get("/attach")
@blueprint.get("/attach", websocket=True)
def attach() -> Response:
    """Attach to a container."""
    query = ContainerQuery.from_request()
    options = query.options()
    return _upgrade(
        lambda: get_services().streams.attach(query.namespace, query.pod_name, query.container_name, options)
    )


@blueprint.get("/portForward")
@blueprint.get("/portForward", websocket=True)
def port_forward() -> Response:
    """Connect to a TCP port of a pod."""
    query = PortQuery.from_request()

    def connect() -> Session:
        descriptor = get_services().streams.port_forward(query.namespace, query.pod_name, query.port).detach()
        return Session(stdin=os.dup(descriptor), stdout=descriptor, wait=lambda: 0, hang_up=lambda: None)

    return _upgrade(connect, half_close=True)


def _upgrade(start: Callable[[], Session], *, half_close: bool = False) -> Response:
    """Start a session, and answer the handshake; the worker then serves the session on this connection.

    Raises:
        NotSupported: streams are turned off, or this server is not gunicorn.
        Unavailable: there are too many streams.
    """
    if not get_services().settings.streams:
        raise NotSupported("streams are turned off by STREAMS")
    response = _handshake()
    connection = request.environ.get("gunicorn.socket")
    if connection is None or not hasattr(connection, "upgrade"):
        raise NotSupported("this server cannot upgrade a connection; start the provider by `vkweb provider`")
    server: StreamServer = current_app.extensions["streams"]
    server.reserve()
    try:
        session = start()
    except BaseException:
        server.release()
        raise
    connection.upgrade = Upgrade(server, session, _ended, half_close=half_close)
    return response


def _handshake() -> Response:
    """Return the response to a WebSocket handshake.

    Raises:
        HTTPException: the request is none, or asks for another subprotocol.
    """
    protocol = ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)])
    answer = protocol.accept(Request(request.path, Headers(request.headers.items()), request.method))
    if answer.status_code == 426:
        raise UpgradeRequired
    if answer.status_code != 101:
        raise BadRequest(str(protocol.handshake_exc))
    response = Response(status=101)
    del response.headers["Content-Type"]
    for name in ("Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"):
        response.headers[name] = answer.headers[name]
    return response


def _ended(ending: Ending) -> None:
    log.info("stream ended", outcome=ending.outcome.value)
