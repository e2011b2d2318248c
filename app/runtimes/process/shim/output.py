"""The output of a container: copied to its log, and to the clients that are attached.

    process ──pipe or terminal──▶ Output ──▶ Log
                                        └──▶ Sink ──pipe──▶ provider (one for each attached client)

The log is complete and in order, whatever the clients do. A client that reads too slowly holds the container back,
as with containerd: the output is read again once every client has taken what was read before, so that at most one
chunk is held in memory for a client, and when the container has ended what is left in the pipe, up to 1 MiB. One
that has taken nothing for half a minute is detached: a client that has died, or a terminal that was stopped, would
otherwise hold a container back for hours.
"""

import contextlib
import os
import selectors
import time
from collections.abc import Callable

from .log import Lines, Log

STALL_SECONDS = 30.0
"""How long an attached client may take nothing of the output that waits for it."""
_CHUNK = 64 * 1024
_LARGEST_PIPE = 1024 * 1024


class Output:
    """One stream of a container.

    Args:
        fd: the descriptor that is read, and closed at the end.
        stream: `stdout` or `stderr`; a terminal is `stdout`.
        log: the log of the run.
        selector: calls :meth:`on_readable`.
    """

    def __init__(self, fd: int, stream: str, log: Log, selector: selectors.BaseSelector) -> None:
        self.stream = stream
        self._fd = fd
        self._log = log
        self._selector = selector
        self._lines = Lines()
        self._sinks: list[Sink] = []
        self._is_open = True
        self._is_paused = False
        os.set_blocking(fd, False)
        selector.register(fd, selectors.EVENT_READ, self.on_readable)

    def on_readable(self) -> None:
        """Copy up to one chunk; close the stream at its end."""
        if not self._is_open or self._is_paused:
            return
        if not self._pump():
            self.release()
        elif self._is_held_back:
            self._selector.unregister(self._fd)
            self._is_paused = True

    def attach(self, sink: "Sink") -> None:
        """Copy the stream to a client from now on."""
        self._sinks.append(sink)
        sink.on_progress = self._resume
        if not self._is_open:
            sink.finish()

    def release(self) -> None:
        """Copy the remaining bytes, at most a full pipe, and close it: a stray process might write forever."""
        if not self._is_open:
            return
        for _ in range(_LARGEST_PIPE // _CHUNK):
            if not self._pump():
                break
        self._log.write(self.stream, self._lines.end())
        self._is_open = False
        if not self._is_paused:
            self._selector.unregister(self._fd)
        os.close(self._fd)
        for sink in list(self._sinks):
            sink.finish()

    @property
    def _is_held_back(self) -> bool:
        return any(sink.is_behind for sink in self._sinks)

    def _resume(self) -> None:
        self._sinks = [sink for sink in self._sinks if sink.is_open]
        if self._is_open and self._is_paused and not self._is_held_back:
            self._selector.register(self._fd, selectors.EVENT_READ, self.on_readable)
            self._is_paused = False

    def _pump(self) -> bool:
        """Copy up to one chunk. Return False at the end of the stream."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # EIO: no process has the terminal open any more
            return False
        self._log.write(self.stream, self._lines.feed(data))
        for sink in list(self._sinks):
            sink.write(data)
        return bool(data)


class Sink:
    """Gives the bytes of a stream to one client.

    Args:
        fd: the descriptor that is written, and closed at the end.
        selector: calls :meth:`on_writable`.
        on_close: called when it is closed: the client has gone, or has taken everything.
    """

    def __init__(self, fd: int, selector: selectors.BaseSelector, *, on_close: Callable[[], None]) -> None:
        self.is_open = True
        self.on_progress: Callable[[], None] = lambda: None
        self._fd = fd
        self._selector = selector
        self._on_close = on_close
        self._rest = bytearray()
        self._is_finishing = False
        self._progress_at = 0.0
        os.set_blocking(fd, False)

    @property
    def is_behind(self) -> bool:
        """Whether bytes wait until the client takes them."""
        return bool(self._rest)

    @property
    def stalls_at(self) -> float | None:
        """The monotonic time from which the client counts as stalled; None while nothing waits for it."""
        return self._progress_at + STALL_SECONDS if self._rest else None

    def write(self, data: bytes) -> None:
        """Write bytes to the client, and keep those that it does not take yet."""
        if not self.is_open or not data:
            return
        was_behind = self.is_behind
        self._rest += data
        if was_behind:
            return
        self._progress_at = time.monotonic()
        self._take()
        if self.is_behind:
            self._selector.register(self._fd, selectors.EVENT_WRITE, self.on_writable)

    def on_writable(self) -> None:
        """Write more of the bytes that wait for the client."""
        if not self.is_behind:
            return
        self._take()
        if self.is_open and not self.is_behind:
            self._selector.unregister(self._fd)
            if self._is_finishing:
                self.close()
            self.on_progress()

    def finish(self) -> None:
        """Close it once the client has taken everything."""
        self._is_finishing = True
        if not self.is_behind:
            self.close()

    def close(self) -> None:
        """Close it, and drop what was not taken."""
        if not self.is_open:
            return
        self.is_open = False
        self._rest.clear()
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._fd)
        os.close(self._fd)
        self.on_progress()
        self._on_close()

    def _take(self) -> None:
        try:
            while self._rest:
                taken = os.write(self._fd, self._rest)
                del self._rest[:taken]
                self._progress_at = time.monotonic()
        except BlockingIOError:
            return
        except OSError:  # the client has gone
            self.close()
