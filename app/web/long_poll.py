"""Requests that are held open: for a changed status, or for more lines of a log.

Each held request occupies a thread of its worker. A worker therefore holds at most half as many requests as it has
threads, and answers them when the client disconnects or the worker stops.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event

from flask import Flask, current_app, request

from app.core import metrics
from app.core.errors import Unavailable
from app.pods.watch import Waiter
from app.services import Services

_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


class LongPollLimiter:
    """The limit on requests that one process holds open.

    Attributes:
        slots: a semaphore of the requests that can still be held.
        stopping: set when the process stops.
    """

    def __init__(self, slots: int) -> None:
        self.slots = BoundedSemaphore(slots)
        self.stopping = Event()


def init_app(app: Flask) -> None:
    """Create the limiter of this application."""
    services: Services = app.extensions["services"]
    app.extensions["long_poll"] = LongPollLimiter(max(1, services.settings.threads // 2))


def release_all(app: Flask) -> None:
    """Make every held request answer now, because the process stops."""
    limiter: LongPollLimiter = app.extensions["long_poll"]
    limiter.stopping.set()


@contextmanager
def hold_request() -> Iterator[Waiter]:
    """Hold this request open in a `with` block; yield the function that waits.

    The function waits for a number of seconds, and returns False when the client has disconnected or the process
    stops.

    Raises:
        Unavailable: this process holds as many requests as it may.
    """
    limiter: LongPollLimiter = current_app.extensions["long_poll"]
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    if not limiter.slots.acquire(blocking=False):
        raise Unavailable("too many requests are held open; THREADS sets the limit")
    metrics.held.inc()
    try:
        yield lambda seconds: not limiter.stopping.wait(seconds) and not (client and _is_closed(client))
    finally:
        metrics.held.dec()
        limiter.slots.release()


def _is_closed(client: socket.socket) -> bool:
    """Return whether the client has closed the connection."""
    try:
        return client.recv(1, _PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
