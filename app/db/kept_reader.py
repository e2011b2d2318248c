"""The connection that each thread keeps for its reads from SQLite.

SQLAlchemy checks a connection out of its pool, and in again, for each read. Measured: that costs more CPU time
than SQLite needs to find the status of a pod. A kept connection holds no lock and no snapshot between two reads.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine


class KeptReader(threading.local):
    """The kept connection of the current thread.

    Attributes:
        inode: the database file that it has opened.
        is_in_use: whether a read is under way; another read within it takes a connection from the pool.
    """

    _connection: Connection | None = None
    inode: int | None = None
    is_in_use = False

    @contextmanager
    def connect(self, engine: Engine, *, inode: int | None) -> Iterator[Connection]:
        """Yield the connection; open one if there is none, or if the file was replaced, as by a backup."""
        connection = self._connection
        if connection is None or connection.closed or self.inode != inode:
            self.close()
            connection = self._connection = engine.connect()
            self.inode = inode
        self.is_in_use = True
        try:
            yield connection
            if connection.in_transaction():
                connection.rollback()
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
