"""Error responses: one table of status codes, one JSON shape."""

import traceback

import orjson
import structlog
from flask import Flask, g
from werkzeug.exceptions import HTTPException

from app.core.errors import InvalidRequest, NotFound, NotSupported, Outdated, ProviderError, Unavailable
from app.web.responses import Response

RETRY_AFTER_SECONDS = 1

STATUS_CODES: dict[type[ProviderError], int] = {
    InvalidRequest: 400,
    NotFound: 404,
    Outdated: 409,
    NotSupported: 501,
    Unavailable: 503,
}
"""The status code of an error: that of its class, or of the nearest base class in this table."""

log = structlog.get_logger("app")


def init_app(app: Flask) -> None:
    """Register the error handlers, for errors of every view and of unknown paths."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _error)


def error_response(code: int, message: str, *, field: str | None = None) -> Response:
    """Return `{"error": {"code", "message", "requestId", "field"}}`; `field` only for an invalid field."""
    g.error_message = message
    error = {"code": code, "message": message, "requestId": g.caller.request_id}
    if field:
        error["field"] = field
    response = Response(orjson.dumps({"error": error}), status=code)
    if code == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def status_code(exc: ProviderError) -> int:
    """Return the status code of an error; 500 for one that is not in the table."""
    return next((STATUS_CODES[cls] for cls in type(exc).__mro__ if cls in STATUS_CODES), 500)


def describe(exc: Exception) -> tuple[int, str]:
    """Return the status code and the message of an error; log one that is not the client's."""
    code = status_code(exc) if isinstance(exc, ProviderError) else 500
    request_id = g.caller.request_id
    if code == 500:
        # The traceback is formatted here: an unconfigured logger prints local variables with it, such as a pod.
        log.error("internal error", exception="".join(traceback.format_exception(exc)), request_id=request_id)
        return code, f"internal error; see request {request_id} in the provider's log"
    if code == 503:
        log.warning("unavailable", problem=str(exc), request_id=request_id)
    return code, str(exc)


def _http_error(exc: HTTPException) -> Response:
    response = error_response(exc.code or 500, exc.description or "")
    response.headers.extend((k, v) for k, v in exc.get_headers() if k.lower() != "content-type")
    return response


def _error(exc: Exception) -> Response:
    return error_response(*describe(exc), field=exc.field if isinstance(exc, InvalidRequest) else None)
