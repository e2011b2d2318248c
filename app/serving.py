"""What gunicorn needs beside the application itself: logs, workers, and checks before the start."""

import socket
from typing import Any

import structlog
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers.gthread import ThreadWorker
from sqlalchemy import text

from app import log
from app.database import Database
from app.errors import DatabaseUnavailable, DatabaseUnusable
from app.migrate import head
from app.settings import Settings


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
    """A worker that gives up its socket as soon as it stops.

    With `reuse_port` each worker has a socket of its own. Gunicorn keeps it open until the last request under way
    is done, and the kernel goes on to give it connections that nobody accepts.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begin or cease to accept connections; when stopping, accept those that have come and close."""
        super().set_accept_enabled(enabled)  # type: ignore[no-untyped-call]
        if enabled or self.alive:
            return
        for listener in self.sockets:
            accepted = -1
            while self.nr_conns != accepted:
                accepted = self.nr_conns
                self.accept(listener)  # type: ignore[no-untyped-call]
            listener.close()


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
