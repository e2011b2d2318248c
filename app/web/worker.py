"""Gunicorn's threaded worker, for clients that are slow or never finish.

Gunicorn's worker gives a connection to a thread as soon as a byte arrives. The thread then waits for the rest of
the request, and for the client to take the response: a few clients that do neither hold all threads. Here a
connection is in the hands of a thread only while there is something to do:

1. The main thread collects the bytes of a request. When the request is complete, a thread gets it.
2. The thread sends the response. What a slow client does not take is kept in memory, and the thread is free.
3. The main thread sends the rest when the client takes it, then waits for the next request, or for the client to
   close the connection.

Each wait has a deadline. The memory that waiting connections hold is limited: beyond the limit, the connection
that holds most is closed. Their number is limited too: beyond the limit, the connection that has waited longest is
closed. `/healthz` and `/readyz` have threads of their own, quick reads one thread: see `app.web.read_loop`.

Example: 1,000 clients that send half a request occupy 1,000 sockets for REQUEST_TIMEOUT, and no thread.
"""

import errno
import selectors
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from gunicorn import http
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from app.core.settings import HEALTH_THREADS
from app.services import Services
from app.web import long_poll
from app.web.connection import Connection, Stage
from app.web.early_responses import CONTINUE, TIMEOUT, malformed_request, raw_error
from app.web.read_loop import ReadLoop
from app.web.streams.server import StreamServer, Upgrade, keep_alive

_MAX_HELD_BYTES = 128 * 1024 * 1024
_DISCARD_BYTES = 256 * 1024
_CLOSE_SECONDS = 2.0
_SWEEP_SECONDS = 0.5
_READS_IN_A_ROW = 8
"""So many quick reads make a connection one of the read loop, where a write costs two passages between threads."""
_STOP_SECONDS = 1.5
"""Before the end of the grace period, after which gunicorn kills the worker, streams end with a Failure."""


class Worker(ThreadWorker):
    """The worker. All methods but `handle` and `_read` run in the main thread, and `_release` in any.

    It closes its listening socket as soon as it stops. With `reuse_port`, each worker has a socket of its own.
    Gunicorn keeps it open until the last request is done, and the kernel queues connections there that are never
    accepted.
    """

    tpool: ThreadPoolExecutor
    poller: selectors.BaseSelector

    def init_process(self) -> None:
        """Prepare and run the worker."""
        self._health_pool = ThreadPoolExecutor(HEALTH_THREADS)
        self._streams: StreamServer | None = None
        self._reads: ReadLoop | None = None
        self._is_hurried = False
        self._upgraded = 0  # connections, counted in `nr_conns`, that are streams
        self._parked: dict[Connection, int] = {}  # with the memory of each, in the order of their parking
        self._held_bytes = 0  # the memory of all
        self._next_sweep = 0.0
        try:
            super().init_process()
        finally:
            if self._streams:
                self._streams.close()
            if self._reads:
                self._reads.stop()

    def init_signals(self) -> None:
        """Handle signals; in a thread, leave them to the program of the main thread."""
        if threading.current_thread() is threading.main_thread():
            super().init_signals()

    def load_wsgi(self) -> None:
        """Load the application, and the limits from its settings."""
        super().load_wsgi()
        long_poll.init_app(self.wsgi)  # the pipe of one that was created before the fork is that of all workers
        self._streams = self.wsgi.extensions["streams"]
        services: Services = self.wsgi.extensions["services"]
        settings = services.settings
        self._max_body_bytes = settings.max_content_length
        self._timeout = settings.request_timeout.total_seconds()
        self._max_held_bytes = max(_MAX_HELD_BYTES, 4 * self._max_body_bytes)
        if services.reads_at_once:
            self._reads = ReadLoop(self._read, self._release, threads=settings.threads)
            services.database.before_write = self._reads.detach

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; when stopping, accept the queued ones and close the socket."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        long_poll.release_all(self.wsgi)
        if self._streams:
            seconds = 0 if self._is_hurried else self.cfg.graceful_timeout - _STOP_SECONDS
            self._streams.stop(after=max(0, seconds))
        for listener in self.sockets:
            accepted = -1
            while self.nr_conns != accepted:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop as after SIGTERM, and end streams at once, on Ctrl-C.

        Gunicorn exits here. The process would not end: it waits for the threads of held requests, which nobody
        tells to answer.
        """
        self._is_hurried = True
        self.handle_exit(sig, frame)

    def is_parent_alive(self) -> bool:
        """Return whether gunicorn's master process runs; without it, stop as after SIGTERM.

        A worker can be its own master.
        """
        self.alive = self.alive and (self.ppid == self.pid or bool(super().is_parent_alive()))
        return self.alive

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and wait for its request."""
        try:
            accepted, client = listener.accept()
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                self._close_oldest()
            elif exc.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_oldest()
        connection = Connection(
            self.cfg,
            accepted,
            client,
            server=listener.getsockname(),
            max_body_bytes=self._max_body_bytes,
            timeout=self._timeout,
        )
        connection.receive()  # most clients have sent their request by now
        self._await_request(connection, idle=self._timeout)

    def enqueue_req(self, conn: Connection) -> None:
        """Submit the complete request of a connection to a thread."""
        if self._reads and conn.incoming.is_quick_read:
            self._reads.add(conn)
            return
        pool = self._health_pool if conn.incoming.is_for_health else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: Connection) -> bool:
        """Handle requests of a connection, as long as the next one arrives within 2 ms.

        Clients often send it at once. Passing the connection to the main thread and back takes longer than the
        application needs for a request. So quick reads between other requests are handled here, too; several in a
        row are left to the loop of quick reads.
        """
        self._handle_one(conn)
        reads = 0
        while (
            conn.keep_alive
            and not conn.sock.unsent
            and not conn.sock.upgrade
            and self.alive
            and self.nr_conns - self._upgraded <= self.cfg.threads
            and conn.receive_next()
            and not conn.incoming.is_for_health
            and reads < _READS_IN_A_ROW
        ):
            reads = reads + 1 if self._reads and conn.incoming.is_quick_read else 0
            self._handle_one(conn)
        return conn.keep_alive

    def _read(self, conn: Connection) -> bool:
        """Handle a request in the thread of quick reads; return whether it may wait for the next one."""
        conn.sock.is_patient = False
        try:
            self._handle_one(conn)
        except BaseException as exc:
            self.log.error("connection closed after an error", exc_info=exc)
            conn.keep_alive = False
        conn.sock.is_patient = True
        return conn.keep_alive and not conn.sock.unsent and self.alive

    def _release(self, conn: Connection) -> None:
        """Pass a connection of the loop of quick reads to the main thread."""
        self.method_queue.defer(self._finish, conn)

    def _handle_one(self, conn: Connection) -> None:
        complete = conn.incoming.complete and not conn.incoming.too_large
        conn.parser = http.get_parser(self.cfg, conn.take_request(), conn.client)
        conn.keep_alive = bool(super().handle(conn)) and complete

    def handle_error(self, req: object, client: socket.socket, addr: tuple[str, int], exc: Exception) -> None:
        """Answer a malformed request in the shape in which the application answers errors.

        Its bytes are not logged: they may be those of a body.
        """
        if isinstance(exc, http.errors.ParseException):
            self.log.warning("malformed request from %s: %s", addr[0], type(exc).__name__)
            response = malformed_request(exc)
        else:
            self.log.error("connection closed after an error", exc_info=exc)
            response = raw_error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        with suppress(OSError):
            client.sendall(response)

    def finish_request(self, conn: Connection, fs: Future[bool]) -> None:
        """Finish the response of a thread."""
        if failure := fs.exception():
            self.log.error("connection closed after an error", exc_info=failure)
            self._close(conn)
        else:
            self._finish(conn)

    def _finish(self, conn: Connection) -> None:
        """Send the rest of the response, then wait for the next request or close the connection."""
        if conn.sock.unsent:
            self._park(conn, Stage.RESPONSE, conn.sock.deadline)
        else:
            self._end_response(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close the connections whose deadline has passed, or all."""
        now = time.monotonic()
        if now < self._next_sweep and not force:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        for conn in [conn for conn in self._parked if force or conn.deadline <= now]:
            if conn.stage is Stage.REQUEST and conn.incoming.size and not force:
                self._unpark(conn)
                with suppress(OSError):
                    conn.sock.send(TIMEOUT, socket.MSG_DONTWAIT)
                self._await_close(conn)
            else:
                self._close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections by a deadline, because the worker stops."""
        for conn in self._parked:
            if conn.stage is Stage.REQUEST:
                conn.deadline = min(conn.deadline, deadline)

    def _await_request(self, conn: Connection, *, idle: float) -> None:
        """Wait for a complete request.

        Args:
            conn: the connection.
            idle: seconds for the first byte to arrive.
        """
        if conn.incoming.complete:
            self.enqueue_req(conn)
            return
        self._continue(conn)
        now = time.monotonic()
        deadline = conn.request_deadline or now + idle
        self._park(conn, Stage.REQUEST, deadline if self.alive else min(deadline, now + STOP_KEEPALIVE_LINGER))

    def _continue(self, conn: Connection) -> None:
        """Ask for the body, if the client waits for that."""
        if conn.incoming.expects_continue:
            conn.incoming.expects_continue = False
            with suppress(OSError):
                conn.sock.send(CONTINUE, socket.MSG_DONTWAIT)

    def _await_close(self, conn: Connection) -> None:
        """End the response, and wait for the client to close the connection, longer after a refused body."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
        else:
            seconds = self._timeout if conn.refused_body else _CLOSE_SECONDS
            self._park(conn, Stage.CLOSE, time.monotonic() + seconds)

    def _end_response(self, conn: Connection) -> None:
        if conn.sock.upgrade:
            self._upgrade(conn, conn.sock.upgrade)
        elif conn.keep_alive:
            self._await_request(conn, idle=self.cfg.keepalive)
        else:
            self._await_close(conn)

    def _upgrade(self, conn: Connection, upgrade: Upgrade) -> None:
        """Pass a connection to the event loop of the streams. It counts until the stream has ended."""
        self._upgraded += 1
        conn.sock.upgrade = None
        client = socket.socket(fileno=conn.sock.detach())
        keep_alive(client)
        upgrade.start(client, partial(self.method_queue.defer, self._count_ended))

    def _count_ended(self) -> None:
        self._upgraded -= 1
        self.nr_conns -= 1

    def _proceed(self, conn: Connection, _: object) -> None:
        """Do what a parked connection has waited for, unless it was closed for another one meanwhile."""
        if conn not in self._parked:
            return
        if conn.stage is Stage.REQUEST:
            self._receive(conn)
        elif conn.stage is Stage.RESPONSE:
            self._send(conn)
        else:
            self._discard(conn)

    def _receive(self, conn: Connection) -> None:
        is_open = conn.receive()
        if conn.incoming.complete or (conn.incoming.size and not is_open):
            self._unpark(conn)
            self.enqueue_req(conn)
            return
        if not is_open:
            self._close(conn)
            return
        self._continue(conn)
        if self.alive:
            conn.deadline = conn.request_deadline or conn.deadline
        self._count(conn)

    def _send(self, conn: Connection) -> None:
        try:
            is_sent = conn.sock.flush()
        except OSError:
            self._close(conn)
            return
        if is_sent:
            self._unpark(conn)
            self._end_response(conn)
        else:
            conn.deadline = conn.sock.deadline
            self._count(conn)

    def _discard(self, conn: Connection) -> None:
        try:
            is_open = bool(conn.sock.recv(_DISCARD_BYTES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            is_open = True
        except OSError:
            is_open = False
        if not is_open:
            self._close(conn)

    def _park(self, conn: Connection, stage: Stage, deadline: float) -> None:
        """Register a connection with the main thread's poller."""
        conn.stage, conn.deadline = stage, deadline
        event = selectors.EVENT_WRITE if stage is Stage.RESPONSE else selectors.EVENT_READ
        self.poller.register(conn.sock, event, partial(self._proceed, conn))
        self._parked[conn] = 0
        self._count(conn)

    def _unpark(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self._held_bytes -= self._parked.pop(conn)

    def _count(self, conn: Connection) -> None:
        """Count the memory of a connection; close the largest one where all hold too much."""
        self._held_bytes += conn.held_bytes - self._parked[conn]
        self._parked[conn] = conn.held_bytes
        if self._held_bytes > self._max_held_bytes:
            self.log.warning("connection closed: slow clients hold too much memory")
            self._close(max(self._parked, key=self._parked.__getitem__))

    def _close_oldest(self) -> None:
        """Make room for a connection: close the one that has waited longest."""
        if self._parked:
            self._close(next(iter(self._parked)))

    def _close(self, conn: Connection) -> None:
        """Close a connection; what a slow client has not taken of its response is discarded."""
        if conn in self._parked:
            self._unpark(conn)
        self.nr_conns -= 1
        if conn.sock.upgrade:
            conn.sock.upgrade.cancel()
            conn.sock.upgrade = None
        if conn.sock.unsent:
            conn.sock.abort()
        else:
            conn.close()
