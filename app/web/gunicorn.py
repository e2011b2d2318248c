"""Gunicorn's logger and worker class, and the checks before the start."""

import select
import socket
from pathlib import Path
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

_NEXT_REQUEST_MILLISECONDS = 2


class Logger(GunicornLogger):
    """Gunicorn's log lines in the format of the application, which logs each request itself."""

    def setup(self, cfg: Any) -> None:
        """Configure logging as the application does."""
        self.cfg = cfg
        log.configure(Settings.from_environment())

    def info(self, msg: str, *args: object, **kwargs: object) -> None:
        """Log an event, except gunicorn's list of addresses: with `reuse_port` it is empty. See `log_start`."""
        if not msg.startswith("Listening at"):
            super().info(msg, *args, **kwargs)  # type: ignore[no-untyped-call]

    def access(self, *_: object) -> None:
        """Log nothing: the middleware logs each request."""

    def warning(self, msg: str, *args: object, **kwargs: object) -> None:
        """Log a warning, without the bytes of a malformed request that gunicorn quotes: they may be of a body."""
        if msg.startswith("Invalid request"):
            msg = msg.partition(": ")[0]
        super().warning(msg, *args, **kwargs)  # type: ignore[no-untyped-call]


class Worker(ThreadWorker):
    """Gunicorn's threaded worker, with two changes.

    A thread waits 2 ms for the next request on its connection, since a client often sends it at once. Passing the
    connection to the main thread and back takes longer than the application needs for a request.

    The worker closes its listening socket as soon as it stops. With `reuse_port`, each worker has a socket of its
    own. Gunicorn keeps it open until the last request is done, and the kernel queues connections there that are
    never accepted.
    """

    def handle(self, conn: TConn) -> object:
        """Serve requests of a connection as long as the next one arrives within 2 ms."""
        again = super().handle(conn)  # type: ignore[no-untyped-call]
        while again is True and self.alive and self.nr_conns <= self.cfg.threads and _is_readable(conn.sock):
            again = super().handle(conn)  # type: ignore[no-untyped-call]
        return again

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; when stopping, accept the queued ones and close the socket."""
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
    """Return whether a connection has data to read within 2 ms."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(_NEXT_REQUEST_MILLISECONDS))


def check_port(host: str, port: int) -> None:
    """Refuse a port that is in use: with `reuse_port`, both servers would receive a part of the requests.

    Raises:
        SystemExit: the port cannot be listened on.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as exc:
            raise SystemExit(f"cannot listen on {host}:{port}: {exc.strerror}") from None


def log_start(settings: Settings) -> None:
    """Log the settings that differ from the defaults, and where the provider listens."""
    log = structlog.get_logger("app")
    log.info("settings", **(settings.changed() or {"all": "defaults"}))
    dashboard = {} if settings.provider_token else {"dashboard": f"{settings.url}/ui/"}
    database = settings.database
    if database.get_backend_name() == "sqlite":
        database = database.set(database=str(Path(database.database or "").resolve()))
    log.info("listening", url=f"{settings.url}/", **dashboard, database=database.render_as_string())


def check_database(settings: Settings) -> None:
    """Stop the start if the database is unusable; log a warning if it cannot be reached yet.

    Until it can be reached, requests that need it are answered with 503.

    Raises:
        SystemExit: the database is read-only, damaged, or not at the head revision.
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
