"""How gunicorn serves the provider. Every choice that a user may make is a setting: see `flask config`."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from gunicorn.glogging import Logger as GunicornLogger

from app import SERVING_SINCE, log
from app.database import Database
from app.errors import ConfigurationError, DatabaseUnavailable, DatabaseUnusable
from app.migrate import head
from app.settings import Settings


class Logger(GunicornLogger):
    """Gunicorn's own lines among those of the application, which writes the one of each request itself."""

    def setup(self, cfg: Any) -> None:  # noqa: D102
        self.cfg = cfg
        log.configure(settings)

    def access(self, *_: object) -> None:  # noqa: D102
        pass

    def warning(self, msg: str, *args: object, **kwargs: object) -> None:  # noqa: D102
        if msg.startswith("Invalid request"):  # goes on to quote what could not be parsed, a body perhaps
            msg = msg.partition(": ")[0]
        super().warning(msg, *args, **kwargs)  # type: ignore[no-untyped-call]


try:
    settings = Settings.from_environment()
except ConfigurationError as exc:
    raise SystemExit(str(exc)) from None

wsgi_app = "wsgi:app"
bind = [f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"]
if settings.health_port:
    bind.append(f"0.0.0.0:{settings.health_port}")

worker_class = "gthread"
workers = settings.workers
threads = settings.threads
# Each worker has a socket of its own, among which the kernel spreads connections. With one socket for all,
# the keep-alive connections of a client can all end up in one worker.
reuse_port = True
keepalive = 75  # longer than a Go client keeps an idle connection, so that the client is the one to close
graceful_timeout = 25  # less than the 30 seconds that Kubernetes gives
# Heartbeats are files; on a real disk, one that hangs would get a healthy worker killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

logger_class = Logger
control_socket_disable = True

os.environ.setdefault(SERVING_SINCE, datetime.now(UTC).isoformat())


def on_starting(_: Any) -> None:
    """Refuse to start where no request could be served. What is opened here is closed before the fork."""
    for address in bind:
        _check_port(address)
    _check_database()


def _check_port(address: str) -> None:
    """With `reuse_port`, a second server on the same port would start and take half of the requests."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
        except OSError as exc:
            raise SystemExit(f"cannot listen on {address}: {exc.strerror}") from None


def _check_database() -> None:
    """Stop where a person has to act; go on, with 503 to every request, where waiting may help."""
    database = Database(settings.database, head=head())
    try:
        database.check()
        with database.write():
            pass
    except DatabaseUnusable as exc:
        raise SystemExit(str(exc)) from None
    except DatabaseUnavailable as exc:
        structlog.get_logger("app").warning("database", problem=str(exc))
    finally:
        database.dispose()
