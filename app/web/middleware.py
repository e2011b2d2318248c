"""Before and after every request: its ID, authentication, the audit row of a refusal, its metrics and log line."""

import hmac
import random
import re
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_plus

import structlog
from flask import Flask, abort, current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from app.audit import Caller, Outcome, Verb
from app.core import metrics
from app.core.errors import ProviderError
from app.kubernetes.pod import PodReference
from app.services import get_services
from app.web.body import discard_body, requested_pod

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from app.web.responses import Response

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNRECORDED = frozenset({401, 403, 426, 503})
"""Refusals without an audit row: unauthorized clients must not fill the database, a request that is no WebSocket
handshake attempts nothing, and 503 means that there is no database."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STARTED = "provider.started"
_UNKNOWN_PATH = "other"

log = structlog.get_logger("app")

View = TypeVar("View", bound=Callable[..., object])
_VERBS: dict[Callable[..., object], Verb] = {}
"""The verbs of the views that :func:`audited` decorates."""


def audited(verb: Verb) -> Callable[[View], View]:
    """Decorate the view of a write or a stream: each request that it refuses gets an audit row with this verb."""

    def register(view: View) -> View:
        _VERBS[view] = verb
        return view

    return register


def audit_verb(endpoint: str | None) -> Verb | None:
    """Return the verb of a Flask endpoint; None if its view is not :func:`audited`, or there is no endpoint."""
    view = current_app.view_functions.get(endpoint or "")
    return _VERBS.get(view) if view else None


def init_app(app: Flask) -> None:
    """Register the functions that run before and after each request."""
    app.before_request(_before_request)
    app.after_request(_after_request)


def caller() -> Caller:
    """Return the client of this request."""
    found: Caller = g.caller
    return found


def _before_request() -> None:
    environ = request.environ
    environ[_STARTED] = time.perf_counter()
    given_id = environ.get("HTTP_X_REQUEST_ID", "")
    g.caller = Caller(
        request_id=given_id if _REQUEST_ID.fullmatch(given_id) else _random_id(),
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
    # A CORS preflight carries no credentials, and neither does a probe of the root. For the dashboard, see
    # `app.web.ui.access`.
    is_open = environ["REQUEST_METHOD"] == "OPTIONS" or request.endpoint == "index.index"
    if settings.provider_token and not is_open and request.blueprint != "ui":
        _authenticate(settings.provider_token.get_secret_value())
    origin = environ.get("HTTP_ORIGIN")
    may_write = environ["REQUEST_METHOD"] not in _SAFE_METHODS or "HTTP_UPGRADE" in environ
    if origin and may_write and request.blueprint != "ui" and not {origin, "*"} & set(settings.cors_origins):
        # CORS alone does not stop this: a page may send a POST to any origin, it only cannot read the response,
        # and a WebSocket is not subject to CORS at all.
        abort(403, "this origin may not write; CORS_ORIGINS lists the origins that may")


def _random_id() -> str:
    """Return a request ID: no secret, so it needs no system call, after which threads wait for each other."""
    return f"{random.getrandbits(128):032x}"


def bearer_token() -> str | None:
    """Return the bearer token of this request; None if it has none."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def is_token(given: str, token: str) -> bool:
    """Return whether a client has given the token; the comparison takes the same time for every wrong one."""
    return hmac.compare_digest(given.encode(), token.encode())


def _authenticate(token: str) -> None:
    """Check the bearer token.

    Raises:
        Unauthorized: the token is missing or wrong.
    """
    given = bearer_token()
    if given is None or not is_token(given, token):
        raise Unauthorized("a valid bearer token is required", www_authenticate=WWWAuthenticate("bearer"))


def _after_request(response: "Response") -> "Response":
    if response.status_code >= 400:
        if audit_verb(request.endpoint):
            pod = _queried_pod() if request.blueprint == "streams" else requested_pod()
            record_refusals([Outcome(pod, response.status_code, {"refused": g.error_message})])
        discard_body()
    sender = caller()
    response.headers["X-Request-ID"] = sender.request_id
    path = request.url_rule.rule if request.url_rule else _UNKNOWN_PATH
    response.call_on_close(partial(_log_request, request.environ, sender, path, response.status_code))
    return response


def _queried_pod() -> PodReference | None:
    """Return the pod that the query of a stream names; None where it names none."""
    namespace, name = (request.args.get(parameter, "") for parameter in ("namespace", "podName"))
    return PodReference(namespace, name) if namespace and name and "\0" not in namespace + name else None


def record_refusals(refusals: Iterable[Outcome]) -> None:
    """Insert the audit rows of a refused write or stream; those that succeed insert their own."""
    verb = audit_verb(request.endpoint)
    recorded = [refusal for refusal in refusals if refusal.code not in _UNRECORDED]
    if not verb or not recorded:
        return
    try:
        get_services().audit.record(caller(), verb, recorded)
    except ProviderError as exc:
        log.warning("refusal not recorded", problem=str(exc), request_id=caller().request_id)


def _log_request(environ: "WSGIEnvironment", sender: Caller, path: str, code: int) -> None:
    """Measure and log a request once its last byte is sent; Flask's request context is closed by then.

    Args:
        path: the URL rule, such as `/getPod`, for the metrics.
    """
    seconds = time.perf_counter() - environ[_STARTED]
    metrics.request(path, code).observe(seconds)
    log.info(
        "request",
        request_id=sender.request_id,
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        query="&".join(dict.fromkeys(map(_redact, environ["QUERY_STRING"].split("&")))),
        code=code,
        milliseconds=round(seconds * 1000, 2),
        address=sender.address,
        user_agent=sender.user_agent,
    )


def _redact(parameter: str) -> str:
    """Replace the value of `command`, which may contain a secret; a client may encode the name, too."""
    return "command=…" if unquote_plus(parameter.partition("=")[0]) == "command" else parameter
