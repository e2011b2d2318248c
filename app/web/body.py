"""Bodies of requests: read whole within a limit, or thrown away."""

from contextlib import suppress

from flask import g, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.core.errors import InvalidRequest
from app.services import get_services

_PIECE = 64 * 1024
_LONGEST_DISCARDED = 16 * 1024 * 1024


def read_body() -> bytes:
    """Read the body of this request.

    Raises:
        InvalidRequest: it does not arrive whole.
        RequestEntityTooLarge: it is longer than MAX_CONTENT_LENGTH. Werkzeug's own limit cuts a body that comes
            in chunks, and says nothing.
    """
    limit = get_services().settings.max_content_length
    announced = request.content_length
    if (announced or 0) > limit:
        raise RequestEntityTooLarge
    try:
        g.body = request.environ["wsgi.input"].read(_size(limit + 1, announced))
    except Exception:
        raise InvalidRequest("the body is cut off, or its chunks are not as HTTP has them") from None
    if len(g.body) > limit:
        raise RequestEntityTooLarge
    body: bytes = g.body
    return body


def discard_body() -> None:
    """Read what is left of the body of a request that was refused, so that the connection can go on.

    One that is very long, or has no end, is left alone: gunicorn closes the connection after the answer.
    """
    announced = request.content_length
    stream = request.environ["wsgi.input"]
    left = _LONGEST_DISCARDED if (announced or 0) <= _LONGEST_DISCARDED else 0
    with suppress(Exception):  # it cannot be read: gunicorn closes the connection
        while left > 0 and (piece := stream.read(_size(_PIECE, announced))):
            left -= len(piece)


def _size(most: int, announced: int | None) -> int:
    """Say how much may be read at once: past the end of a body, some servers would wait for more."""
    if announced is not None:
        return min(most, announced)
    return most if request.environ.get("wsgi.input_terminated") else 0
