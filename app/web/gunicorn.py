"""What gunicorn needs beside the application itself: logs, workers, and checks before the start."""

import select
import socket
from typing import Any

import structlog
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers.gthread import TConn, ThreadWorker
from sqlalchemy import text

from app.core import logging_config as log
from app.core.errors import DatabaseUnavailable, DatabaseUnusable
from app.core.settings import Settings
from app.db.engine import Database
from app.db.migrate import head
from app.web.long_poll import release_all

_CLOSELY_MILLISECONDS = 2


class Logger(GunicornLogger):
    """Gunicorn's own lines among those of the application, which writes the one of each request itself."""

    def setup(self, cfg: Any) -> None:
        """Leave the logs as the application has set them up."""
        self.cfg = cfg
        log.configure(Settings.from_environment())

    def access(self, *_: object) -> None:
        """Write nothing."""

    def warning(self, msg: str, *args: object, **kwargs: object) -> None:
        """Write a warning, without what it quotes of a request that is not HTTP: a body, perhaps."""
        if msg.startswith("Invalid request"):
            msg = msg.partition(": ")[0]
        super().warning(msg, *args, **kwargs)  # type: ignore[no-untyped-call]


class Worker(ThreadWorker):
    """Gunicorn's worker with threads, changed in two things.

    A thread stays with its connection for a moment after a request: the next one often comes at once, and to hand
    the connection to the main thread and back costs more than the whole application does.

    It gives up its socket as soon as it stops. With `reuse_port` each worker has a socket of its own; gunicorn
    keeps it open until the last request under way is done, and the kernel goes on to give it connections that
    nobody accepts.
    """

    def handle(self, conn: TConn) -> object:
        """Serve the requests of a connection, as long as they follow each other closely."""
        again = super().handle(conn)  # type: ignore[no-untyped-call]
        while again is True and self.alive and self.nr_conns <= self.cfg.threads and _is_readable(conn.sock):
            again = super().handle(conn)  # type: ignore[no-untyped-call]
        return again

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begin or cease to accept connections; when stopping, accept those that have come and close."""
        super().set_accept_enabled(enabled)  # type: ignore[no-untyped-call]
        if enabled or self.alive:
            return
        release_all(self.wsgi)
        for listener in self.sockets:
            accepted = -1
            while self.nr_conns != accepted:
                accepted = self.nr_conns
                self.accept(listener)  # type: ignore[no-untyped-call]
            listener.close()


def _is_readable(connection: socket.socket) -> bool:
    """Wait a little for something to read."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(_CLOSELY_MILLISECONDS))


def check_port(host: str, port: int) -> None:
    """Refuse a port that another server has: with `reuse_port`, each would get some of the requests.

    Raises:
        SystemExit: it cannot be listened on.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as exc:
            raise SystemExit(f"cannot listen on {host}:{port}: {exc.strerror}") from None


def check_database(settings: Settings) -> None:
    """Stop where a person has to act; go on, with 503 to every request, where waiting may help.

    Raises:
        SystemExit: the database can be reached and cannot serve.
    """
    database = Database(settings.database, head=head())
    try:
        database.check()
        with database.write() as connection:  # a write that changes nothing, since a file can be read-only
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    except DatabaseUnusable as exc:
        raise SystemExit(str(exc)) from None
    except DatabaseUnavailable as exc:
        structlog.get_logger("app").warning("database", problem=str(exc))
    finally:
        database.dispose()
