"""Connections to SQLite that are kept between uses: one of each thread for its reads, and one for all writes.

SQLAlchemy checks a connection out of its pool, and in again, for each use. Measured: that costs more CPU time than
SQLite needs to find the status of a pod. A kept connection holds no lock and no snapshot between two uses. That of
the writes also keeps its pages in memory, as no other connection of the process has changed them.

Only so many threads keep one for their reads: any others, such as those of streams, which read for hours, return
it after each read.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Self

from sqlalchemy import Connection, Engine


class KeptConnection:
    """A connection that is kept, for one use at a time.

    Attributes:
        inode: the database file that it has opened.
        is_in_use: whether a use is under way.
    """

    _connection: Connection | None = None
    inode: int | None = None
    is_in_use = False

    @contextmanager
    def connect(self, engine: Engine, *, inode: int | None) -> Iterator[Connection]:
        """Yield the connection; open one if there is none, or if the file was replaced, as by a backup."""
        connection = self._connection
        if connection is None or connection.closed or self.inode != inode:
            connection = self._open(engine, inode)
        self.is_in_use = True
        try:
            yield connection
            if connection.in_transaction():
                connection.rollback()
            if not self._may_keep():
                self.close()
        except BaseException:
            self.close()
            raise
        finally:
            self.is_in_use = False

    def close(self) -> None:
        """Return the connection to its pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self, engine: Engine, inode: int | None) -> Connection:
        self.close()
        connection = self._connection = engine.connect()
        self.inode = inode
        return connection

    def _may_keep(self) -> bool:
        return True


class KeptReader(KeptConnection, threading.local):
    """The kept connection of the current thread. A read within a read takes a connection from the pool.

    Args:
        slots: has an item for each thread that may keep a connection beside those that do. A finalizer returns an
            item where a thread has ended, which of all queues and semaphores only a `SimpleQueue` allows.
    """

    _slot: "weakref.finalize[..., Connection] | None" = None

    def __init__(self, slots: SimpleQueue[None]) -> None:
        self._slots = slots

    @classmethod
    def for_threads(cls, count: int) -> Self:
        """Return a reader whose connections at most so many threads keep."""
        slots = SimpleQueue[None]()
        for _ in range(count):
            slots.put(None)
        return cls(slots)

    def close(self) -> None:
        """Return the connection to its pool."""
        super().close()
        slot, self._slot = self._slot, None
        if slot is not None:
            slot()

    def _open(self, engine: Engine, inode: int | None) -> Connection:
        connection = super()._open(engine, inode)
        with suppress(Empty):
            self._slot = weakref.finalize(connection, self._slots.put, self._slots.get_nowait())
        return connection

    def _may_keep(self) -> bool:
        return self._slot is not None
