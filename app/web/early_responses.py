"""Responses that the server sends before the application has a request, or in its place."""

from http import HTTPStatus

import orjson
from gunicorn.http import errors

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MALFORMED = {
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
"""The status codes of requests that gunicorn cannot parse; 400 for all others."""


def raw_error(code: HTTPStatus, message: str) -> bytes:
    """Return an error in the shape of those of the application, after which the connection is closed."""
    body = orjson.dumps({"error": {"code": code, "message": message}})
    head = f"HTTP/1.1 {code} {code.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def malformed_request(error: errors.ParseException) -> bytes:
    """Return the response to a request that gunicorn cannot parse."""
    return raw_error(_MALFORMED.get(type(error), HTTPStatus.BAD_REQUEST), f"malformed request: {error}")


TIMEOUT = raw_error(HTTPStatus.REQUEST_TIMEOUT, "the request has not arrived in time")
