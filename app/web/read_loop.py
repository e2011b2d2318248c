"""One thread for the quick reads of all connections of a worker.

The problem: a thread gives up Python's interpreter lock at each system call, and must wait to get it back while
another thread runs. Eight threads that each read one pod cost nearly twice the CPU time of one thread that reads
them all, and are not faster. Passing a connection from the main thread to another one and back costs as much.

The rules:

1. The main thread passes a connection whose request is a quick read. The thread of the loop handles the request,
   and waits for the next requests of all connections that it has.
2. Each connection gets one request, then the next connection: nobody can occupy the thread.
3. A connection returns to the main thread as soon as it is anything else: a request of another kind, a part of a
   request, a response that the client does not take, a connection to close, or one that was idle for 0.1 s.
4. A read that has to write first, because a timeline is to be advanced, may wait for other writes. Before it does,
   another thread continues the loop; the connection returns to the main thread after the response.

Example: the requests of eight clients arrive while the thread handles one. It handles them one after the other,
with one call that waits for all, and no other thread runs meanwhile.
"""

import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from gunicorn.workers.gthread import PollableMethodQueue

from app.web.connection import Connection

_IDLE_SECONDS = 0.1


class ReadLoop:
    """The loop. All methods but `add`, `detach` and `stop` run in its thread.

    Args:
        handle: handles the request of a connection; returns whether the connection may wait for the next one here.
        release: passes a connection to the main thread.
        threads: number of threads that may wait for writes, beside the thread of the loop.
    """

    def __init__(
        self, handle: Callable[[Connection], bool], release: Callable[[Connection], None], *, threads: int
    ) -> None:
        self._handle = handle
        self._release = release
        self._pool = ThreadPoolExecutor(1 + threads)
        self._selector = selectors.DefaultSelector()
        self._added = cast("Any", PollableMethodQueue)()
        self._added.init()
        self._selector.register(self._added.fileno(), selectors.EVENT_READ, self._added.run_callbacks)
        self._ready: deque[Connection] = deque()
        self._idle: dict[Connection, float] = {}  # the times at which they return, in this order
        self._registered: set[Connection] = set()
        self._current: Connection | None = None
        self._thread: int | None = None
        self._is_stopped = False
        self._pool.submit(self._run)

    def add(self, conn: Connection) -> None:
        """Handle the complete request of a connection, and those that follow."""
        self._added.defer(self._ready.append, conn)

    def detach(self) -> None:
        """Continue the loop in another thread, if the current thread is that of the loop; it may have to wait."""
        if threading.get_ident() == self._thread:
            self._thread = None
            if self._current:
                self._forget(self._current)
            if not self._is_stopped:
                self._pool.submit(self._run)

    def stop(self) -> None:
        """End the loop after the current request."""
        self._is_stopped = True
        self._added.defer(lambda: None)
        self._pool.shutdown(wait=False)

    def _run(self) -> None:
        me = self._thread = threading.get_ident()
        while not self._is_stopped:
            for key, _ in self._selector.select(self._timeout()):
                key.data(key.fileobj)
            now = time.monotonic()
            while self._idle and next(iter(self._idle.values())) <= now:
                self._return(next(iter(self._idle)))
            for _ in range(len(self._ready)):
                conn = self._current = self._ready.popleft()
                stays = self._handle(conn)
                if self._thread != me:
                    self._release(conn)
                    return
                self._current = None
                if stays:
                    self._await_next(conn)
                else:
                    self._return(conn)

    def _timeout(self) -> float | None:
        if self._ready:
            return 0
        first = next(iter(self._idle.values()), None)
        return None if first is None else max(0, first - time.monotonic())

    def _await_next(self, conn: Connection) -> None:
        if conn.incoming.is_quick_read:  # it has arrived together with the last one
            self._ready.append(conn)
        elif conn.incoming.size:
            self._return(conn)
        else:
            if conn not in self._registered:
                self._registered.add(conn)
                self._selector.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
            self._idle[conn] = time.monotonic() + _IDLE_SECONDS

    def _receive(self, conn: Connection, _: object) -> None:
        conn.receive()
        if conn.incoming.is_quick_read:
            del self._idle[conn]
            self._ready.append(conn)
        else:
            self._return(conn)

    def _return(self, conn: Connection) -> None:
        self._forget(conn)
        self._release(conn)

    def _forget(self, conn: Connection) -> None:
        self._idle.pop(conn, None)
        if conn in self._registered:
            self._registered.remove(conn)
            self._selector.unregister(conn.sock)
