"""The connection that each thread keeps for its reads from SQLite.

SQLAlchemy checks a connection out of its pool, and in again, for each read. Measured: that costs more CPU time
than SQLite needs to find the status of a pod. A kept connection holds no lock and no snapshot between two reads.

Only so many threads keep one: any others, such as those of streams, which read for hours, return it after each
read.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Self

from sqlalchemy import Connection, Engine


class KeptReader(threading.local):
    """The kept connection of the current thread.

    Args:
        slots: has an item for each thread that may keep a connection beside those that do. A finalizer returns an
            item where a thread has ended, which of all queues and semaphores only a `SimpleQueue` allows.

    Attributes:
        inode: the database file that it has opened.
        is_in_use: whether a read is under way; another read within it takes a connection from the pool.
    """

    _connection: Connection | None = None
    _slot: "weakref.finalize[..., Connection] | None" = None
    inode: int | None = None
    is_in_use = False

    def __init__(self, slots: SimpleQueue[None]) -> None:
        self._slots = slots

    @classmethod
    def for_threads(cls, count: int) -> Self:
        """Return a reader whose connections at most so many threads keep."""
        slots = SimpleQueue[None]()
        for _ in range(count):
            slots.put(None)
        return cls(slots)

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
            if self._slot is None:
                self.close()
        except BaseException:
            self.close()
            raise
        finally:
            self.is_in_use = False

    def close(self) -> None:
        """Return the connection to its pool."""
        connection, self._connection = self._connection, None
        slot, self._slot = self._slot, None
        if connection is not None:
            connection.close()
        if slot is not None:
            slot()

    def _open(self, engine: Engine, inode: int | None) -> Connection:
        self.close()
        connection = self._connection = engine.connect()
        self.inode = inode
        with suppress(Empty):
            self._slot = weakref.finalize(connection, self._slots.put, self._slots.get_nowait())
        return connection
