"""Requests that are held open: for a change, or for more of a log.

Each keeps a thread, so a worker holds only half as many as it has threads, and lets go of them when the client
goes away or the worker stops.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event

from flask import Flask, current_app, request

from app import metrics
from app.changes import Pause
from app.errors import Unavailable
from app.provider import Provider

_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


class Held:
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
    provider: Provider = app.extensions["provider"]
    app.extensions["held"] = Held(max(1, provider.settings.threads // 2))


def let_go(app: Flask) -> None:
    """Have every request that is held open answer with what there is: the process is to end."""
    held: Held = app.extensions["held"]
    held.stopping.set()


@contextmanager
def holding() -> Iterator[Pause]:
    """Hold this request open for the time of a block; how to wait in it is what is given.

    Raises:
        Unavailable: too many are being held.
    """
    held: Held = current_app.extensions["held"]
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    if not held.places.acquire(blocking=False):
        raise Unavailable("too many requests are held open here (THREADS)")
    metrics.held.inc()
    try:
        yield lambda seconds: not held.stopping.wait(seconds) and not (client and _is_gone(client))
    finally:
        metrics.held.dec()
        held.places.release()


def _is_gone(client: socket.socket) -> bool:
    """Look whether the client has closed the connection."""
    try:
        return client.recv(1, _PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
