"""The shapes of answers."""

from collections.abc import Generator, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

import flask
import orjson

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Response(flask.Response):
    """A response whose reason phrase is the one of HTTP: `404 Not Found`.

    Werkzeug writes it in capitals. The original broker compares the whole status line, and takes a pod whose
    `404 NOT FOUND` it does not recognize for one that exists.
    """

    default_mimetype = "application/json"

    def get_wsgi_response(self, environ: "WSGIEnvironment") -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Give what goes on the wire."""
        body, _, headers = super().get_wsgi_response(environ)
        return body, _STATUS_LINES[self.status_code], headers


_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def done() -> Response:
    """Answer a write: no body at all, since the original broker never reads one and leaks the connection."""
    response = Response()
    del response.headers["Content-Type"]
    return response


def json(text: str) -> Response:
    """Answer with JSON that is text already."""
    return Response(text)


def plain(text: str) -> Response:
    """Answer with plain text, such as a log."""
    return Response(text, content_type="text/plain; charset=utf-8")


def rendered(value: object) -> Response:
    """Answer with a value as JSON."""
    return Response(orjson.dumps(value))


def streamed(pieces: Generator[str, None, None]) -> Response:
    """Answer with JSON that is sent as it is made.

    The first piece is made now, while an error can still become a status code.
    """
    first = next(pieces)

    def body() -> Iterable[str]:
        yield first
        yield from pieces

    response = Response(body())
    response.call_on_close(pieces.close)
    return response
