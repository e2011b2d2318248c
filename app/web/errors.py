"""From errors to answers: one table, one shape."""

import traceback

import orjson
import structlog
from flask import Flask, g
from werkzeug.exceptions import HTTPException

from app.core.errors import InvalidRequest, NotFound, ProviderError, Unavailable
from app.web.responses import Response

RETRY_AFTER_SECONDS = 1

STATUS_CODES: dict[type[ProviderError], int] = {InvalidRequest: 400, NotFound: 404, Unavailable: 503}
"""By the class of the error or its nearest ancestor that is here."""

log = structlog.get_logger("app")


def init_app(app: Flask) -> None:
    """Answer every error of this application, wherever it was raised, in the one shape."""
    app.register_error_handler(ProviderError, _provider_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)


def error(code: int, message: str, *, field: str | None = None) -> Response:
    """Build `{"error": {"code", "message", "requestId", "field"}}`; the field only where one is to blame."""
    g.problem = message
    problem = {"code": code, "message": message, "requestId": g.caller.request_id}
    if field:
        problem["field"] = field
    response = Response(orjson.dumps({"error": problem}), status=code)
    if code == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def status_code(exc: ProviderError) -> int:
    """Say with which code an error is answered."""
    return next((STATUS_CODES[cls] for cls in type(exc).__mro__ if cls in STATUS_CODES), 500)


def _provider_error(exc: ProviderError) -> Response:
    code = status_code(exc)
    if code == 500:
        return _bug(exc)
    if code > 500:
        log.warning("unavailable", problem=str(exc), request_id=g.caller.request_id)
    return error(code, str(exc), field=getattr(exc, "field", None))


def _http_error(exc: HTTPException) -> Response:
    response = error(exc.code or 500, exc.description or "")
    response.headers.extend((k, v) for k, v in exc.get_headers() if k.lower() != "content-type")
    return response


def _bug(exc: Exception) -> Response:
    # As text: a logger that nobody has configured prints local variables, a pod's among them, with an exception.
    log.error("internal error", exception="".join(traceback.format_exception(exc)), request_id=g.caller.request_id)
    return error(500, f"internal error; the provider's log has more of request {g.caller.request_id}")
