"""The database engine, with two kinds of connections: `read` and `write`.

PostgreSQL serializes the writes of a fleet with a lock on the fleet's row. SQLite needs these measures:

* WAL mode, so that readers and the writer do not block each other; `synchronous=FULL`, so that an acknowledged
  write is on the disk.
* Write transactions start with `BEGIN IMMEDIATE`. A transaction that starts with a read and then writes fails
  at once if another transaction has written in between, regardless of the busy timeout.
* A write lock: a `threading.Lock` among the threads of a process, and a lock file among processes. SQLite's own
  busy wait polls with growing pauses, in which a writer can starve. The lock file is polled with short, equal
  pauses, by one thread of each process at a time.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from app.core import metrics
from app.core.errors import DatabaseUnavailable, DatabaseUnusable
from app.db.addresses import ipv4_number
from app.db.changes import ChangeSignal, closed_after_writing, notified
from app.db.driver_errors import is_missing_table, translate
from app.db.kept_connection import KeptConnection, KeptReader
from app.db.sqlite_file import wal_pragmas
from app.db.statement import execute

BUSY_TIMEOUT_SECONDS = 5
"""Seconds that a statement waits for a lock, on both databases."""
_DEAD_AFTER_SECONDS = 15
"""Seconds without an answer of TCP after which a connection to PostgreSQL is given up."""

_LOCK_POLL_SECONDS = 0.0002  # between two attempts to lock the file; a write takes about three times as long

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
)


class Database:
    """An engine that connects on first use, so that a process can fork after creating it.

    Args:
        url: the URL of an SQLite file or a PostgreSQL database.
        pool_size: the maximum number of connections to PostgreSQL; SQLite has twice as many.
        head: the required schema revision; None disables the check, for migrations.
        create: create the SQLite file and its directory if they are missing.

    Attributes:
        before_write: called by a thread before a write, in which it may wait for other writes.
    """

    def __init__(self, url: URL, *, pool_size: int = 5, head: str | None, create: bool = False) -> None:
        self._head = head
        self.before_write: Callable[[], None] = _nothing
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._thread_lock = threading.Lock()
        # Otherwise errors contain the parameters of their statement, including environment values of pods.
        options: dict[str, Any] = {"hide_parameters": True, "pool_size": pool_size, "max_overflow": 0}
        self._pool_size = pool_size
        self._kept = KeptReader.for_threads(pool_size)
        self._kept_writer = KeptConnection()
        options["pool_timeout"] = BUSY_TIMEOUT_SECONDS
        if self.is_sqlite:
            self.path = Path(url.database or "").absolute()
            self._lock_path = Path(f"{self.path}.lock")
            if create:
                make_private(self.path)
            options["creator"] = self._open
            options["pool_size"] = 2 * pool_size  # a thread that keeps one may need another
        else:
            options["pool_pre_ping"] = True
            options["connect_args"] = _connect_args(url)
        self.engine = create_engine(url, **options)
        self._driver = self.engine.dialect.loaded_dbapi
        self._reader = (
            self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        self._writer = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        event.listen(self.engine, "connect", self._on_connect)
        if self.is_sqlite:
            event.listen(self.engine, "begin", _begin)
            event.listen(self.engine, "checkout", self._on_checkout)

    @contextmanager
    def read(self, *, streaming: bool = False) -> Iterator[Connection]:
        """Yield a connection on which every statement sees the latest committed state.

        Args:
            streaming: fetch the rows of a statement as they are read, not all at once.

        Raises:
            DatabaseUnavailable: the database does not respond or is not at the head revision.
        """
        measured = metrics.database("stream" if streaming else "read").time()
        with measured, self.translated(), self._connect(streaming=streaming) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction, which is committed at the end and rolled back on an exception.

        Raises:
            DatabaseUnavailable: as for :meth:`read`; nothing was written.
        """
        self.before_write()
        measured = metrics.database("write").time()
        with measured, self.translated(), self._write_lock() as connection, connection.begin():
            yield connection

    @contextmanager
    def changes(self, fleet: str) -> Iterator[ChangeSignal]:
        """Yield a signal that is set after each commit that changes a fleet; see :mod:`app.db.changes`.

        Raises:
            DatabaseUnavailable: as for :meth:`read`.
        """
        if self.is_sqlite:
            if not self._lock_path.exists():  # before the first write
                os.close(self._open_lock_file())
            with closed_after_writing(self._lock_path) as signal:
                yield signal
            return
        with self.translated(), self._reader.connect() as connection:
            driver: Any = connection.connection.driver_connection
            with notified(driver, fleet) as signal:
                yield signal

    def revision(self) -> str | None:
        """Return the schema revision; None if the database has no tables."""
        with self.read() as connection:
            return _revision(connection.connection.dbapi_connection)

    def check(self) -> None:
        """Check that the database is reachable and at the head revision.

        Raises:
            DatabaseUnusable: the database is not at the head revision.
            DatabaseUnavailable: the database does not respond.
        """
        self._check_revision(self.revision())

    def check_writable(self) -> None:
        """Check that the database takes writes, by one that changes nothing: the file of SQLite can be read-only.

        Raises:
            DatabaseUnavailable: as for :meth:`write`.
        """
        with self.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")

    def free_bytes(self) -> int:
        """Return the size of the free pages in an SQLite file, which are used again before the file grows; else 0.

        The pages are counted by SQLite. A process that opens the file itself loses SQLite's locks when it closes
        it: POSIX releases all locks of a process on a file with any of its descriptors. Another process that
        closes the database would then delete the write-ahead log under this one.
        Source: "How To Corrupt An SQLite Database File", section 2.2.

        Raises:
            DatabaseUnavailable: as for :meth:`read`.
        """
        if not self.is_sqlite:
            return 0
        with self.read() as connection:
            pages: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
            size: int = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        return pages * size

    def dispose(self) -> None:
        """Close all idle connections; those that other threads keep are closed some time later."""
        if not self._kept.is_in_use:
            self._kept.close()
        self._kept = KeptReader.for_threads(self._pool_size)
        if self._thread_lock.acquire(blocking=False):  # no other thread writes
            self._kept_writer.close()
            self._thread_lock.release()
        self._kept_writer = KeptConnection()
        self.engine.dispose()

    def _connect(self, *, streaming: bool) -> AbstractContextManager[Connection]:
        if streaming:
            return self.engine.connect()  # a PostgreSQL cursor needs a transaction
        if self.is_sqlite and not self._kept.is_in_use:
            return self._kept.connect(self.engine, inode=self._inode())
        return self._reader.connect()

    def _open(self) -> sqlite3.Connection:
        if self._inode() is None:
            raise DatabaseUnusable(f"there is no database at {self.path}: run `vkweb migrate`")
        # SQLite opens a file without write permission read-only, and stays read-only when permission is granted.
        if not os.access(self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise DatabaseUnusable(f"no permission to write {self.path}")
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate exceptions of the database driver: those of PostgreSQL contain the rejected rows.

        Raises:
            DatabaseUnavailable: the database or all of its connections cannot be used at the moment.
            DatabaseUnusable: the database cannot be used until an operator fixes it.
            DatabaseFault: the database rejected a statement.
        """
        try:
            yield
        except PoolTimeout as exc:
            raise DatabaseUnavailable("all connections to the database are in use") from exc
        except (DBAPIError, self._driver.Error) as exc:
            problem = translate(exc.orig if isinstance(exc, DBAPIError) else exc, self._driver)
            if isinstance(problem, DatabaseUnusable):
                self.dispose()  # a connection that was opened read-only stays read-only
            raise problem from None

    @contextmanager
    def _write_lock(self) -> Iterator[Connection]:
        """Yield a connection, and hold SQLite's write lock.

        PostgreSQL has a fair queue of its own: the lock on the fleet's row.
        """
        if not self.is_sqlite:
            with self._writer.connect() as connection:
                yield connection
            return
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        if not self._thread_lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise DatabaseUnavailable("the database is locked")
        try:
            with (
                self._lock_file(deadline),
                self._kept_writer.connect(self._writer, inode=self._inode()) as connection,
            ):
                yield connection
        finally:
            self._thread_lock.release()

    @contextmanager
    def _lock_file(self, deadline: float) -> Iterator[None]:
        """Hold the lock file beside the database, which excludes other processes.

        It is opened for each write, because its closing after the commit is the signal of :meth:`changes`.

        Args:
            deadline: the value of `time.monotonic()` until which to wait for the lock.
        """
        lock = self._open_lock_file()
        try:
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable("the database is locked by another process")
                time.sleep(_LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(lock)

    def _open_lock_file(self) -> int:
        try:
            return os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise DatabaseUnusable(f"cannot write the lock file of {self.path}: {exc.strerror}") from exc

    def _inode(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DatabaseUnusable(f"cannot read {self.path}: {exc.strerror}") from exc

    def _on_checkout(self, _: Any, entry: ConnectionPoolEntry, __: Any) -> None:
        """Reconnect if the database file was replaced, for example by a backup."""
        if entry.info["inode"] != self._inode():
            raise DisconnectionError

    def _on_connect(self, dbapi_connection: Any, entry: ConnectionPoolEntry) -> None:
        try:
            if self.is_sqlite:
                entry.info["inode"] = self._inode()
                for pragma in (*_PRAGMAS, *wal_pragmas(self.path)):
                    dbapi_connection.execute(f"PRAGMA {pragma}").close()
                dbapi_connection.create_function("ipv4_number", 1, ipv4_number, deterministic=True)
            self._check_revision(_revision(dbapi_connection))
        except BaseException:
            dbapi_connection.close()
            raise

    def _check_revision(self, revision: str | None) -> None:
        if self._head is not None and revision != self._head:
            found = f"at revision {revision}" if revision else "empty"
            raise DatabaseUnusable(
                f"the database is {found}, this version needs {self._head}: run `vkweb migrate` "
                f"or install the version that the database was migrated for"
            )


def _nothing() -> None:
    """Do nothing."""


def make_private(path: Path) -> None:
    """Create an SQLite file that only its owner can read, because pods contain secrets.

    An existing directory keeps its mode: it may be shared on purpose.

    Raises:
        DatabaseUnusable: the file or its directory cannot be created.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as exc:
        raise DatabaseUnusable(f"cannot create {path}: {exc.strerror}") from exc


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _connect_args(url: URL) -> dict[str, object]:
    """Return the parameters of connections to PostgreSQL; those in the URL have precedence.

    Without the limits, a thread waits for a quarter of an hour for a machine that does not exist any more.
    """
    args = {
        "connect_timeout": BUSY_TIMEOUT_SECONDS,
        "application_name": "virtual-kubelet-web",
        "tcp_user_timeout": _DEAD_AFTER_SECONDS * 1000,
        "keepalives_idle": _DEAD_AFTER_SECONDS,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    return {
        **{name: value for name, value in args.items() if name not in url.query},
        "options": f"-c lock_timeout={BUSY_TIMEOUT_SECONDS}s {options} -c timezone=UTC",
    }


def _begin(connection: Connection) -> None:
    """Begin a transaction; the driver is configured not to begin one implicitly."""
    execute(connection, connection.get_execution_options().get("begin", "BEGIN"))


def _revision(dbapi_connection: Any) -> str | None:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute("SELECT version_num FROM alembic_version")
        row = cursor.fetchone()
    except Exception as exc:
        if is_missing_table(exc):
            return None
        raise
    finally:
        cursor.close()
        dbapi_connection.rollback()
    return row[0] if row else None
