"""The database: how to reach it, and the two ways to use it, `read` and `write`.

SQLite needs the more care. What is set here and why:

* WAL, so that readers and the writer do not wait for each other; `synchronous=FULL`, so that a write that
  was acknowledged is on the disk.
* Write transactions begin with `BEGIN IMMEDIATE`. One that begins by reading and then wants to write fails
  at once when another has written meanwhile, however long the busy timeout.
* Writers take turns: the threads of a process by a lock of its own, the processes by a lock on a file. SQLite's
  own busy wait is a poll with growing pauses, in which a writer can starve; this one has short, equal pauses, and
  only one thread of each process polls.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from app.core import metrics
from app.core.errors import DatabaseFault, DatabaseUnavailable, DatabaseUnusable

BUSY_TIMEOUT_SECONDS = 5
"""How long a statement waits for a lock that somebody else holds, on either database."""

_SQLITE_PROBLEMS: dict[int, tuple[type[DatabaseUnavailable], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseUnavailable, "the database is locked by another process"),
    sqlite3.SQLITE_LOCKED: (DatabaseUnavailable, "the database is locked"),
    sqlite3.SQLITE_FULL: (DatabaseUnavailable, "the disk of the database is full"),
    sqlite3.SQLITE_IOERR: (DatabaseUnavailable, "the disk of the database does not work"),
    sqlite3.SQLITE_READONLY: (DatabaseUnusable, "the database is read-only"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseUnusable, "the database file cannot be opened"),
    sqlite3.SQLITE_CORRUPT: (DatabaseUnusable, "the database file is damaged"),
    sqlite3.SQLITE_NOTADB: (DatabaseUnusable, "the database file is not an SQLite database"),
}

_TURN_SECONDS = 0.0002  # between two looks whether it is one's turn; a write takes some three times as long

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "wal_autocheckpoint = 4000",  # pages, 16 MB: a page that many writes touch is copied back once, not often
)


class Database:
    """An engine, opened lazily: nothing is connected before the first use, so a process may fork first.

    Args:
        url: of SQLite (a file) or PostgreSQL.
        pool_size: connections kept; as many as there are threads.
        head: the schema revision that a connection must find. None: do not look (to migrate).
        create: make the SQLite file, and its directory, where there is none.
    """

    def __init__(self, url: URL, *, pool_size: int = 5, head: str | None, create: bool = False) -> None:
        self._head = head
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._writer = threading.Lock()
        # Without this an error would quote the parameters of its statement, a pod's environment among them.
        options: dict[str, Any] = {"hide_parameters": True, "pool_size": pool_size, "max_overflow": 0}
        options["pool_timeout"] = BUSY_TIMEOUT_SECONDS
        if self.is_sqlite:
            self.path = Path(url.database or "").absolute()
            if create:
                make_private(self.path)
            options["creator"] = self._open
        else:
            options["pool_pre_ping"] = True
            options["connect_args"] = {
                "connect_timeout": BUSY_TIMEOUT_SECONDS,
                "application_name": "virtual-kubelet-web",
                "options": f"-c lock_timeout={BUSY_TIMEOUT_SECONDS}s -c timezone=UTC",
            }
        self.engine = create_engine(url, **options)
        self._reader = (
            self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        event.listen(self.engine, "connect", self._on_connect)
        if self.is_sqlite:
            event.listen(self.engine, "begin", _begin)
            event.listen(self.engine, "checkout", self._on_checkout)

    @contextmanager
    def read(self, *, streaming: bool = False) -> Iterator[Connection]:
        """Lend a connection on which every statement sees the newest committed state.

        Args:
            streaming: the rows of a statement are fetched as they are read, not all at once.

        Raises:
            DatabaseUnavailable: it is gone, or is not at the head revision.
        """
        engine = self.engine if streaming else self._reader  # a cursor of PostgreSQL's needs a transaction
        measured = metrics.database("stream" if streaming else "read").time()
        with measured, self._translated(), engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Lend a connection in one transaction: commits at the end, rolls back on an exception.

        Raises:
            DatabaseUnavailable: as for :meth:`read`; nothing was written.
        """
        measured = metrics.database("write").time()
        with measured, self._translated(), self._turn(), self.engine.connect() as connection:
            connection.execution_options(begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection

    def revision(self) -> str | None:
        """Say at which revision the schema is; None: it has no tables yet."""
        with self.read() as connection:
            return _revision(connection.connection.dbapi_connection)

    def check(self) -> None:
        """Find out whether the database can serve.

        Raises:
            DatabaseUnusable: it is not at the head revision.
            DatabaseUnavailable: it does not answer.
        """
        self._check_revision(self.revision())

    def dispose(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()

    def _open(self) -> sqlite3.Connection:
        if self._inode() is None:
            raise DatabaseUnusable(f"there is no database at {self.path}: run `flask migrate`")
        # SQLite would open a file that it may not write all the same, and stay so when it may.
        if not os.access(self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise DatabaseUnusable(f"{self.path} may not be written")
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Let no exception of the database's leave here: PostgreSQL puts the rows it refuses into the text."""
        try:
            yield
        except PoolTimeout as exc:
            raise DatabaseUnavailable("every connection to the database is in use") from exc
        except (DBAPIError, sqlite3.Error, psycopg.Error) as exc:
            cause = exc.orig if isinstance(exc, DBAPIError) else exc
            problem = _problem(cause)
            if problem is None:
                raise DatabaseFault(f"the database refused a statement: {_described(cause)}") from None
            if isinstance(problem, DatabaseUnusable):
                self.dispose()  # a file that was opened read-only stays so, whatever becomes of it
            raise problem from None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the turn to write. PostgreSQL has its own, fair queue: the node's row."""
        if not self.is_sqlite:
            yield
            return
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise DatabaseUnavailable("the database is locked")
        try:
            with self._locked(deadline):
                yield
        finally:
            self._writer.release()

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        """Hold the lock that one process can have: a file beside the database."""
        try:
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise DatabaseUnusable(f"cannot write beside {self.path}: {exc.strerror}") from exc
        try:
            while not _is_locked(lock):
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable("the database is locked by another process")
                time.sleep(_TURN_SECONDS)
            yield
        finally:
            os.close(lock)

    def _inode(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DatabaseUnusable(f"cannot read {self.path}: {exc.strerror}") from exc

    def _on_checkout(self, _: Any, entry: ConnectionPoolEntry, __: Any) -> None:
        """Open another connection where another file has taken the place of ours, such as a backup."""
        if entry.info["inode"] != self._inode():
            raise DisconnectionError

    def _on_connect(self, dbapi_connection: Any, entry: ConnectionPoolEntry) -> None:
        try:
            if self.is_sqlite:
                entry.info["inode"] = self._inode()
                for pragma in _PRAGMAS:
                    dbapi_connection.execute(f"PRAGMA {pragma}").close()
            self._check_revision(_revision(dbapi_connection))
        except BaseException:
            dbapi_connection.close()
            raise

    def _check_revision(self, revision: str | None) -> None:
        if self._head is not None and revision != self._head:
            found = f"at revision {revision}" if revision else "empty"
            raise DatabaseUnusable(
                f"the database is {found}, this version needs {self._head}: run `flask migrate` "
                f"(or use the version that the database was migrated for)"
            )


def make_private(path: Path) -> None:
    """Make an SQLite file that only its owner can read: pods carry secrets.

    A directory that is there already keeps its mode: it may be shared with others for good reason.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as exc:
        raise DatabaseUnusable(f"cannot make {path}: {exc.strerror}") from exc


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _begin(connection: Connection) -> None:
    """Begin what the driver has been told not to begin by itself."""
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _revision(dbapi_connection: Any) -> str | None:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute("SELECT version_num FROM alembic_version")
        row = cursor.fetchone()
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable) as exc:
        if isinstance(exc, sqlite3.OperationalError) and "no such table" not in str(exc):
            raise
        return None
    finally:
        cursor.close()
        dbapi_connection.rollback()
    return row[0] if row else None


def _problem(exc: BaseException | None) -> DatabaseUnavailable | None:
    """Say what is wrong with the database, or None where the statement is."""
    if isinstance(exc, sqlite3.Error):
        # The low byte is the primary result code; the rest says more than anybody needs.
        error, message = _SQLITE_PROBLEMS.get(getattr(exc, "sqlite_errorcode", 0) & 0xFF, (None, ""))
        return error(message) if error else None
    if isinstance(exc, psycopg.errors.ReadOnlySqlTransaction):
        return DatabaseUnavailable("the database is read-only")
    if isinstance(exc, psycopg.errors.LockNotAvailable):
        return DatabaseUnavailable("the database is locked by another process")
    if isinstance(exc, psycopg.errors.DiskFull):
        return DatabaseUnavailable("the disk of the database is full")
    if isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError):
        # Such as a role or a database that is not there: what a person has to know who has set the URL.
        _, said, reason = str(exc).partition("FATAL:")
        return DatabaseUnavailable("the database does not answer" + (f": {reason.strip()}" if said else ""))
    return None


def _described(exc: BaseException | None) -> str:
    if isinstance(exc, psycopg.Error):
        return f"{type(exc).__name__}: {exc.diag.message_primary}"
    return f"{type(exc).__name__}: {exc}"
