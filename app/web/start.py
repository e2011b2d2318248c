"""The start of the provider: checks of ports and database, and the first log lines."""

import socket
from pathlib import Path

import structlog

from app.core.errors import DatabaseUnavailable, DatabaseUnusable
from app.core.settings import Settings
from app.db.engine import Database
from app.db.revision import head


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
    database = settings.database
    if database.get_backend_name() == "sqlite":
        database = database.set(database=str(Path(database.database or "").resolve()))
    log.info(
        "listening", url=f"{settings.url}/", dashboard=f"{settings.url}/ui/", database=database.render_as_string()
    )


def check_database(settings: Settings) -> None:
    """Stop the start if the database is unusable; log a warning if it cannot be reached yet.

    Until it can be reached, requests that need it are answered with 503.

    Raises:
        SystemExit: the database is read-only, damaged, or not at the head revision.
    """
    database = Database(settings.database, head=head())
    try:
        database.check()
        database.check_writable()
    except DatabaseUnusable as exc:
        raise SystemExit(str(exc)) from None
    except DatabaseUnavailable as exc:
        structlog.get_logger("app").warning("database", problem=str(exc))
    finally:
        database.dispose()
