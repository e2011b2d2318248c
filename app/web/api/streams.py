"""Exec, attach and port-forward: requests that become WebSockets."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import structlog
from flask import Blueprint, Flask, current_app, request
from pydantic import Field
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from werkzeug.exceptions import BadRequest, HTTPException

from app.audit import Caller, Outcome, Verb
from app.audit.service import AuditLog
from app.core.errors import InvalidRequest, NotSupported, ProviderError
from app.kubernetes.pod import PodReference
from app.pods.streams import Stream, Streams
from app.runtimes import StreamOptions
from app.services import Services, get_services
from app.web.middleware import audited, caller
from app.web.query import Flag, Name, Number, Query
from app.web.responses import Response
from app.web.streams.channels import SUBPROTOCOL
from app.web.streams.copier import Ending
from app.web.streams.server import StreamServer, Upgrade

blueprint = Blueprint("streams", __name__)

_LONGEST_COMMAND = 256
"""Of the command's first word, in the audit log; its arguments may hold secrets."""

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
        stderr = self.stderr and not self.tty
        if not (self.stdin or self.stdout or stderr):
            raise InvalidRequest("at least one of stdin, stdout and stderr must be true", field="stdin")
        return StreamOptions(stdin=self.stdin, stdout=self.stdout, stderr=stderr, tty=self.tty)


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
@audited("exec")
def exec_() -> Response:
    """Execute a command in a container."""
    query = ContainerQuery.from_request()
    options = query.options()
    command = request.args.getlist("command")
    if not command:
        raise InvalidRequest("required", field="command")
    if any("\0" in word for word in command):
        raise InvalidRequest("must not contain a NUL", field="command")
    details = {"container": query.container_name, "command": command[0][:_LONGEST_COMMAND], "tty": query.tty}
    return _upgrade(
        "exec",
        details,
        lambda streams: streams.exec(
            query.namespace, query.pod_name, query.container_name, command, options=options
        ),
    )


@blueprint.get("/attach")
@blueprint.get("/attach", websocket=True)
@audited("attach")
def attach() -> Response:
    """Attach to a container."""
    query = ContainerQuery.from_request()
    options = query.options()
    return _upgrade(
        "attach",
        {"container": query.container_name, "tty": query.tty},
        lambda streams: streams.attach(query.namespace, query.pod_name, query.container_name, options),
    )


@blueprint.get("/portForward")
@blueprint.get("/portForward", websocket=True)
@audited("port-forward")
def port_forward() -> Response:
    """Connect to a TCP port of a pod."""
    query = PortQuery.from_request()
    return _upgrade(
        "port-forward",
        {"port": query.port},
        lambda streams: streams.port_forward(query.namespace, query.pod_name, query.port),
    )


def _upgrade(verb: Verb, details: dict[str, Any], start: Callable[[Streams], Stream]) -> Response:
    """Start a session, and answer the handshake; the worker then serves the session on this connection.

    Args:
        verb: the verb in the audit log.
        details: what the audit log says of the stream besides its end.

    Raises:
        NotSupported: streams are turned off, or this server is not gunicorn.
        Unavailable: there are too many streams.
    """
    services = get_services()
    if not services.settings.streams:
        raise NotSupported("streams are turned off by STREAMS")
    response = _handshake()
    connection = request.environ.get("gunicorn.socket")
    if connection is None or not hasattr(connection, "upgrade"):
        raise NotSupported("this server cannot upgrade a connection; start the provider by `vkweb provider`")
    server: StreamServer = current_app.extensions["streams"]
    server.reserve()
    try:
        stream = start(services.streams)
    except BaseException:
        server.release()
        raise
    record = partial(_record, audit=services.audit, client=caller(), verb=verb, pod=stream.pod, details=details)
    connection.upgrade = Upgrade(server, stream.session, record, half_close=verb == "port-forward")
    return response


def _record(
    ending: Ending, *, audit: AuditLog, client: Caller, verb: Verb, pod: PodReference, details: dict[str, Any]
) -> None:
    """Insert the audit event of a stream and log its end. Called in a thread, outside of a request."""
    end = {
        "ended": ending.outcome.value,
        **({} if ending.exit_code is None or verb != "exec" else {"exitCode": ending.exit_code}),
        "seconds": round(ending.seconds, 3),
        "bytesReceived": ending.received,
        "bytesSent": ending.sent,
    }
    log.info("stream", verb=verb, namespace=pod.namespace, name=pod.name, request_id=client.request_id, **end)
    try:
        audit.record(client, verb, [Outcome(pod, 101, {"stream": {**details, **end}})])
    except ProviderError as exc:
        log.warning("stream not recorded", problem=str(exc), request_id=client.request_id)


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
