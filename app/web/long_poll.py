"""Requests that are held open: for a changed status, or for more lines of a log.

Each held request occupies a thread of its worker. A worker therefore holds at most half as many requests as it has
threads, and answers them when the client disconnects or the worker stops.
"""

import math
import os
import select
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from flask import Flask, current_app, g, request

from app.core import metrics
from app.core.errors import Unavailable
from app.pods.watch import Waiter
from app.services import Services

_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
_PEER_CLOSED: int = getattr(select, "POLLRDHUP", 0)  # of Linux


class LongPollLimiter:
    """The limit on requests that one process holds open.

    Attributes:
        slots: a semaphore of the requests that can still be held.
    """

    def __init__(self, slots: int) -> None:
        self.slots = BoundedSemaphore(slots)
        self._stop_reader, self._stop_writer = os.pipe()
        weakref.finalize(self, _close, self._stop_reader, self._stop_writer)

    def stop(self) -> None:
        """End every wait, now and later."""
        os.write(self._stop_writer, b"x")  # is never read

    def wait(self, client: socket.socket | None, seconds: float, fd: int | None = None) -> bool:
        """Wait as a :class:`Waiter`; end at once when the client disconnects or the process stops."""
        poll = select.poll()
        poll.register(self._stop_reader, select.POLLIN)
        if client:
            poll.register(client, _PEER_CLOSED)
        if fd is not None:
            poll.register(fd, select.POLLIN)
        ready = {found for found, _ in poll.poll(seconds * 1000)}
        return self._stop_reader not in ready and not (client and (client.fileno() in ready or _is_closed(client)))


def init_app(app: Flask) -> None:
    """Create the limiter of this application."""
    services: Services = app.extensions["services"]
    app.extensions["long_poll"] = LongPollLimiter(services.settings.held_requests)


def release_all(app: Flask) -> None:
    """Make every held request answer now, because the process stops."""
    limiter: LongPollLimiter = app.extensions["long_poll"]
    limiter.stop()


@contextmanager
def hold_request() -> Iterator[Waiter]:
    """Hold this request open in a `with` block; yield the function that waits.

    The wait ends after `g.held_seconds`, if the session that the request belongs to ends then.

    Raises:
        Unavailable: this process holds as many requests as it may.
    """
    limiter: LongPollLimiter = current_app.extensions["long_poll"]
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    if not limiter.slots.acquire(blocking=False):
        raise Unavailable("too many requests are held open; THREADS sets the limit")
    metrics.held.inc()
    ends_at = time.monotonic() + g.get("held_seconds", math.inf)

    def wait(seconds: float, fd: int | None = None, /) -> bool:
        return limiter.wait(client, seconds, fd) and time.monotonic() < ends_at

    try:
        yield wait
    finally:
        metrics.held.dec()
        limiter.slots.release()


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _is_closed(client: socket.socket) -> bool:
    """Return whether the client has closed the connection."""
    try:
        return client.recv(1, _PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
