"""The kinds of responses: empty, JSON, streamed."""

from collections.abc import Generator, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, AnyStr

import flask
import orjson

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Response(flask.Response):
    """A response with the reason phrase of RFC 9110: `404 Not Found`.

    Werkzeug writes it in capitals. The original broker compares the whole status line, and treats a pod as
    existing unless the line is exactly `404 Not Found`.
    """

    default_mimetype = "application/json"

    def get_wsgi_response(self, environ: "WSGIEnvironment") -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Return the body, the status line and the headers."""
        body, _, headers = super().get_wsgi_response(environ)
        return body, _STATUS_LINES[self.status_code], headers


def empty_response() -> Response:
    """Return a response without a body, for writes.

    The original broker does not read the body of a response, and leaks the connection of one that has a body.
    """
    response = Response()
    del response.headers["Content-Type"]
    return response


def json_response(value: object) -> Response:
    """Return a value encoded as JSON."""
    return Response(orjson.dumps(value))


def html_response(html: str, *, code: int = 200) -> Response:
    """Return an HTML document."""
    return set_security_headers(Response(html, status=code, content_type="text/html; charset=utf-8"))


def set_security_headers(response: Response) -> Response:
    """Forbid inline scripts, other origins and frames, and return the response."""
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def json_text_response(text: str) -> Response:
    """Return text that is JSON already."""
    return Response(text)


def streaming_response(
    chunks: Generator[AnyStr, None, None], *, content_type: str = "application/json"
) -> Response:
    """Return a response whose body is sent chunk by chunk, as the chunks are produced.

    The first chunk is produced before this function returns: an error in it is still answered with its status
    code.
    """
    first = next(chunks, None)

    def body() -> Iterator[AnyStr]:
        if first is not None:
            yield first
        yield from chunks

    response = Response(body(), content_type=content_type)
    response.call_on_close(chunks.close)
    return response
