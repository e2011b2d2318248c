"""The shapes of answers."""

from collections.abc import Generator, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, AnyStr

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


def rendered(value: object) -> Response:
    """Answer with a value as JSON."""
    return Response(orjson.dumps(value))


def streamed(pieces: Generator[AnyStr, None, None], *, content_type: str = "application/json") -> Response:
    """Answer with what is sent as it is made.

    The first piece is made now, while an error can still become a status code.
    """
    first = next(pieces, None)

    def body() -> Iterator[AnyStr]:
        if first is not None:
            yield first
        yield from pieces

    response = Response(body(), content_type=content_type)
    response.call_on_close(pieces.close)
    return response
