"""Requests that are held open: for a change, or for more of a log.

Each keeps a thread, so a worker holds only half as many as it has threads, and lets go of them when the client
goes away or the worker stops.
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
    """The requests that one process holds open.

    Attributes:
        places: one for each that it may hold.
        stopping: set when the process is to end.
    """

    def __init__(self, places: int) -> None:
        self.places = BoundedSemaphore(places)
        self.stopping = Event()


def init_app(app: Flask) -> None:
    """Make room for them."""
    services: Services = app.extensions["services"]
    app.extensions["long_poll"] = LongPollLimiter(max(1, services.settings.threads // 2))


def release_all(app: Flask) -> None:
    """Have every request that is held open answer with what there is: the process is to end."""
    limiter: LongPollLimiter = app.extensions["long_poll"]
    limiter.stopping.set()


@contextmanager
def hold_request() -> Iterator[Waiter]:
    """Hold this request open for the time of a block; how to wait in it is what is given.

    Raises:
        Unavailable: too many are being held.
    """
    limiter: LongPollLimiter = current_app.extensions["long_poll"]
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    if not limiter.places.acquire(blocking=False):
        raise Unavailable("too many requests are held open here (THREADS)")
    metrics.held.inc()
    try:
        yield lambda seconds: not limiter.stopping.wait(seconds) and not (client and _is_gone(client))
    finally:
        metrics.held.dec()
        limiter.places.release()


def _is_gone(client: socket.socket) -> bool:
    """Look whether the client has closed the connection."""
    try:
        return client.recv(1, _PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
