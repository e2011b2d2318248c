"""What happens around every request: its ID, who may send it, what is recorded of it."""

import hmac
import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog
from flask import Flask, abort, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from app.audit import Caller, Verb
from app.core import metrics
from app.core.errors import InvalidRequest, ProviderError
from app.kubernetes.pod import parse_reference
from app.services import get_services
from app.web.body import discard_body

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from app.web.responses import Response

WRITES: dict[str | None, Verb] = {
    "pods.create_pod": "create",
    "pods.update_pod": "update",
    "pods.delete_pod": "delete",
}
"""The endpoints that change something, by their names in Flask."""

_UNRECORDED = frozenset({401, 403, 503})
"""Refusals that leave no audit row: who may not write may not fill the database, and without one none can."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STARTED = "provider.started"
_UNKNOWN_PATH = "other"

log = structlog.get_logger("app")


def init_app(app: Flask) -> None:
    """Put all of it around the application."""
    app.before_request(_begin)
    app.after_request(_end)


def caller() -> Caller:
    """Say who sends this request."""
    found: Caller = g.caller
    return found


def _begin() -> None:
    environ = request.environ
    environ[_STARTED] = time.perf_counter()
    given = environ.get("HTTP_X_REQUEST_ID", "")
    g.caller = Caller(
        request_id=given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex(),
        address=environ.get("REMOTE_ADDR", ""),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
    )
    if request.blueprint == "health":
        return
    settings = get_services().settings
    if environ.get("SERVER_PORT") == str(settings.health_port):
        if request.blueprint == "metrics":
            return
        abort(404)
    # A preflight carries no credentials; neither does a probe of the root.
    if settings.provider_token and environ["REQUEST_METHOD"] != "OPTIONS" and request.endpoint != "index.index":
        _authenticate(settings.provider_token.get_secret_value())
    origin = environ.get("HTTP_ORIGIN")
    if origin and request.endpoint in WRITES and not {origin, "*"} & set(settings.cors_origins):
        # A page may send a POST to wherever it likes; that it must not read the answer is too late for a write.
        abort(403, "pages of this origin may not write here; CORS_ORIGINS says which may")


def _authenticate(token: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Unauthorized("a bearer token is needed", www_authenticate=WWWAuthenticate("bearer"))


def _end(response: "Response") -> "Response":
    if response.status_code >= 400:
        if verb := WRITES.get(request.endpoint):
            _audit_refusal(response, verb)
        discard_body()
    sender = caller()
    response.headers["X-Request-ID"] = sender.request_id
    path = request.url_rule.rule if request.url_rule else _UNKNOWN_PATH
    response.call_on_close(partial(_report, request.environ, sender, path, response.status_code))
    return response


def _audit_refusal(response: "Response", verb: Verb) -> None:
    """Put a write that was refused on record; one that was done has its row from its own transaction."""
    if response.status_code in _UNRECORDED:
        return
    try:
        pod = parse_reference(g.get("body", b""))
    except InvalidRequest:
        pod = None
    try:
        get_services().pods.record_refusal(
            caller(), verb=verb, pod=pod, code=response.status_code, message=g.problem
        )
    except ProviderError as exc:
        log.warning("refusal not recorded", problem=str(exc), request_id=caller().request_id)


def _report(environ: "WSGIEnvironment", sender: Caller, path: str, code: int) -> None:
    """Measure a request and write its line, when its last byte is out and its context gone."""
    seconds = time.perf_counter() - environ[_STARTED]
    metrics.request(path, code).observe(seconds)
    log.info(
        "request",
        request_id=sender.request_id,
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        query=environ["QUERY_STRING"],
        code=code,
        milliseconds=round(seconds * 1000, 2),
        address=sender.address,
        user_agent=sender.user_agent,
    )
