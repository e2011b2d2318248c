"""A signal of committed writes, from any process: a waiting reader sleeps until there may be something new.

SQLite: every write transaction of every process ends by closing the lock file beside the database, after its
commit (`Database.write`). The kernel reports that by inotify, which costs a writer nothing. PostgreSQL: a trigger
sends a notification with each new revision of a fleet, which arrives after the commit.

The signal is set again and again while nobody clears it, and may be set where nothing has changed. So a reader
clears it first, and reads then: what is committed after the read sets it again.

Without inotify (another operating system, or all instances of the user are in use) there is no descriptor, and the
reader has to look often.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    import psycopg

_IN_CLOSE_WRITE = 0x8
_READ_BYTES = 64 * 1024


class ChangeSignal(NamedTuple):
    """The signal.

    Attributes:
        fd: a file descriptor that is readable while the signal is set; None where a reader has to look often.
        clear: clears the signal.
    """

    fd: int | None
    clear: Callable[[], None]


@contextmanager
def closed_after_writing(path: Path) -> Iterator[ChangeSignal]:
    """Yield a signal that is set when a process closes a file that it has opened for writing."""
    try:
        watch = _Inotify.of(path)
    except (OSError, AttributeError):
        yield ChangeSignal(None, lambda: None)
        return
    with closing(watch):
        yield ChangeSignal(watch.fd, watch.clear)


@contextmanager
def notified(connection: "psycopg.Connection", fleet: str) -> Iterator[ChangeSignal]:
    """Yield a signal that the notifications of a fleet set; nothing else may use the connection meanwhile."""
    connection.execute(f"LISTEN {channel(fleet)}")
    notifications = connection.pgconn

    def clear() -> None:
        notifications.consume_input()
        while notifications.notifies():
            pass

    try:
        yield ChangeSignal(notifications.socket, clear)
    finally:
        with suppress(connection.Error):  # of a connection that is lost
            connection.execute("UNLISTEN *")


def channel(fleet: str) -> str:
    """Return the channel of a fleet; the trigger `fleets_notify` computes the same. An identifier has 63 bytes."""
    return f"fleet_{hashlib.md5(fleet.encode(), usedforsecurity=False).hexdigest()}"


class _Inotify:
    """inotify(7), which has no interface in the standard library."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def of(cls, path: Path) -> Self:
        """Watch a file.

        Raises:
            OSError: the user has no more instances, or the file cannot be watched.
            AttributeError: this operating system has no inotify.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        watch = cls(_checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)))
        try:
            _checked(libc.inotify_add_watch(watch.fd, os.fsencode(path), _IN_CLOSE_WRITE))
        except OSError:
            watch.close()
            raise
        return watch

    def clear(self) -> None:
        """Discard the events that have arrived."""
        with suppress(BlockingIOError):
            while True:
                os.read(self.fd, _READ_BYTES)

    def close(self) -> None:
        """End the watch."""
        os.close(self.fd)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
