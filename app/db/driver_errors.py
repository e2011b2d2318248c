"""Errors of the database drivers as errors of the application, without values of the rows."""

import re
import sqlite3
from typing import Any

from app.core.errors import DatabaseFault, DatabaseUnavailable, DatabaseUnusable, DiskFull

_SQLITE_PROBLEMS: dict[int, tuple[type[DatabaseUnavailable], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseUnavailable, "the database is locked by another process"),
    sqlite3.SQLITE_LOCKED: (DatabaseUnavailable, "the database is locked"),
    sqlite3.SQLITE_FULL: (DiskFull, "the disk of the database is full"),
    sqlite3.SQLITE_IOERR: (DatabaseUnavailable, "the disk of the database has an I/O error"),
    sqlite3.SQLITE_READONLY: (DatabaseUnusable, "the database is read-only"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseUnusable, "the database file cannot be opened"),
    sqlite3.SQLITE_CORRUPT: (DatabaseUnusable, "the database file is damaged"),
    sqlite3.SQLITE_NOTADB: (DatabaseUnusable, "the database file is not an SQLite database"),
}
# By SQLSTATE. The driver, with copies of libpq and OpenSSL, is imported with the engine of a PostgreSQL URL only.
_POSTGRESQL_PROBLEMS: dict[str, tuple[type[DatabaseUnavailable], str]] = {
    "25006": (DatabaseUnavailable, "the database is read-only"),
    "53100": (DiskFull, "the disk of the database is full"),
    "55P03": (DatabaseUnavailable, "the database is locked by another process"),
}
_REASON = re.compile(r"(?:FATAL:|port \d+ failed:(?! FATAL:)|(?=failed to resolve host))(.*)")
"""The reason in a message of libpq or psycopg, without the address before it and the advice below."""
_INVALID_PARAMETER = re.compile(r"invalid connection option .*")
_UNDEFINED_TABLE = "42P01"


def translate(exc: BaseException | None, driver: Any) -> DatabaseUnavailable | DatabaseFault:
    """Return the error for an exception of a driver: the database cannot be used, or has refused a statement.

    Args:
        driver: the driver, a module as in PEP 249.
    """
    if isinstance(exc, sqlite3.Error):
        # The low byte is the primary result code; the other bytes are details.
        error, message = _SQLITE_PROBLEMS.get(getattr(exc, "sqlite_errorcode", 0) & 0xFF, (None, ""))
    else:
        error, message = _POSTGRESQL_PROBLEMS.get(_sqlstate(exc) or "", (None, ""))
    if error:
        return error(message)
    if not isinstance(exc, sqlite3.Error) and isinstance(exc, (driver.OperationalError, driver.InterfaceError)):
        # Keep the reason, such as a missing role or an unknown host: it shows what is wrong with DATABASE_URL.
        found = _REASON.search(str(exc))
        return DatabaseUnavailable("the database does not answer" + (f": {found[1].strip()}" if found else ""))
    return DatabaseFault(f"the database refused a statement: {_describe(exc)}")


def is_missing_table(exc: Exception) -> bool:
    """Return whether a statement has failed since its table does not exist."""
    return "no such table" in str(exc) or _sqlstate(exc) == _UNDEFINED_TABLE


def _sqlstate(exc: BaseException | None) -> str | None:
    """Return the error code of PostgreSQL; None where it has sent none."""
    return getattr(exc, "sqlstate", None)


def _describe(exc: BaseException | None) -> str:
    """Return the message of an exception; PostgreSQL's without its details, which have values of the row."""
    diagnosis = getattr(exc, "diag", None)
    message = exc if diagnosis is None else diagnosis.message_primary
    if message is None and (found := _INVALID_PARAMETER.search(str(exc))):  # by libpq, in DATABASE_URL
        message = found[0]
    return f"{type(exc).__name__}: {message}"
