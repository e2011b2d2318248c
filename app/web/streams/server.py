"""The event loop of the streams of one process, and the limit on their number."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import BoundedSemaphore, Lock, Thread

import structlog

from app.core import metrics
from app.core.errors import Unavailable
from app.runtimes import Session
from app.web.streams.copier import Copier, Ending, Outcome

log = structlog.get_logger("app")


class StreamServer:
    """Runs the streams of one process in a thread of its own, which starts with the first stream.

    Args:
        limit: the number of streams at once.
    """

    def __init__(self, limit: int) -> None:
        self._slots = BoundedSemaphore(limit)
        self._starting = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._copiers: set[Copier] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop_at: float | None = None

    def reserve(self) -> None:
        """Reserve one of the streams, until :meth:`release`.

        Raises:
            Unavailable: there are as many streams as there may be, or the process stops.
        """
        if self._stop_at is not None:
            raise Unavailable("the provider stops")
        if not self._slots.acquire(blocking=False):
            raise Unavailable("too many streams are open; STREAM_SESSIONS sets the limit")
        metrics.streams.inc()

    def release(self) -> None:
        """Release a reserved stream."""
        metrics.streams.dec()
        self._slots.release()

    def serve(self, client: socket.socket, upgrade: "Upgrade", ended: Callable[[], None]) -> None:
        """Copy between a connection and a session until the end; then call `ended`."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=self._loop.run_forever, daemon=True, name="streams").start()
        self._loop.call_soon_threadsafe(self._begin, client, upgrade, ended)

    def stop(self, *, after: float) -> None:
        """Refuse new streams; end those that are left after a number of seconds, with a Failure.

        A stream that is reserved already may start later, in an event loop that may not exist yet.
        """
        self._stop_at = time.monotonic() + after
        if self._loop:
            self._loop.call_soon_threadsafe(self._loop.call_at, self._stop_at, self._stop_all)

    def close(self) -> None:
        """Hang up the sessions that are left, because the process ends."""
        for copier in tuple(self._copiers):
            copier.hang_up()

    def _stop_all(self) -> None:
        for copier in self._copiers:
            copier.stop()

    def _begin(self, client: socket.socket, upgrade: "Upgrade", ended: Callable[[], None]) -> None:
        task = asyncio.get_running_loop().create_task(self._run(client, upgrade, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, client: socket.socket, upgrade: "Upgrade", ended: Callable[[], None]) -> None:
        copier = Copier(client, upgrade.session, half_close=upgrade.half_close)
        self._copiers.add(copier)
        if self._stop_at is not None:
            asyncio.get_running_loop().call_at(self._stop_at, copier.stop)
        ending = Ending(Outcome.FAILED, None, 0, 0, 0)
        try:
            ending = await copier.run()
        except Exception:
            log.exception("a stream failed")
        finally:
            self._copiers.discard(copier)
            self.release()
            try:
                await asyncio.to_thread(upgrade.on_end, ending)
            finally:
                with suppress(OSError, ValueError):  # the worker has closed its queue
                    ended()


class Upgrade:
    """A session that waits for the connection of its request to become a WebSocket.

    Args:
        on_end: called in a thread when the session has ended.
        half_close: see :class:`Copier`.
    """

    def __init__(
        self, server: StreamServer, session: Session, on_end: Callable[[Ending], None], *, half_close: bool
    ) -> None:
        self.session = session
        self.on_end = on_end
        self.half_close = half_close
        self._server = server

    def start(self, client: socket.socket, ended: Callable[[], None]) -> None:
        """Serve the session on a connection whose `101` is sent; call `ended` at the end, in any thread."""
        self._server.serve(client, self, ended)

    def cancel(self) -> None:
        """End the session, because its client has gone before the `101` was sent."""
        ours, theirs = socket.socketpair()
        theirs.close()
        self.start(ours, lambda: None)


def keep_alive(connection: socket.socket) -> None:
    """Detect within 90 s, while no data is under way, that a client or its network has failed: TCP keep-alive."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        with suppress(AttributeError, OSError):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
