"""Reading the log of a container while its shim writes it."""

from collections.abc import Callable, Iterator
from datetime import datetime
from io import FileIO
from pathlib import Path

from app.runtimes.base import LogLine

_CHUNK = 64 * 1024
_LINE_LIMIT = 1024 * 1024
"""A line with more bytes is returned in parts."""


def read_log(directory: Path, run: int, *, is_over: Callable[[], bool]) -> Iterator[LogLine | None]:
    """Yield the lines of one run; None whenever there is no new line and the run goes on.

    Args:
        directory: the directory of the container's logs.
        run: the number of the run, from 0.
        is_over: returns whether the log is complete.
    """
    entries = _Entries()
    segment = -1
    file: FileIO | None = None
    try:
        while True:
            # Both are read before the file: bytes written in between are then not missed.
            over = is_over()
            newer = min((number for number in _segments(directory, run) if number > segment), default=None)
            if file and (data := file.read(_CHUNK)):
                yield from entries.feed(data)
            elif newer is not None:
                if file:
                    file.close()
                entries.drop_incomplete()
                file, segment = _open(directory / f"{run}.{newer}.log"), newer
            elif over:
                yield from entries.end()
                return
            else:
                yield None
    finally:
        if file:
            file.close()


class _Entries:
    """Joins the entries of the CRI logging format to lines."""

    def __init__(self) -> None:
        self._incomplete = b""
        self._parts: dict[bytes, list[bytes]] = {}
        self._times: dict[bytes, datetime] = {}

    def feed(self, data: bytes) -> Iterator[LogLine]:
        """Parse a chunk of a file, and yield the lines that it completes."""
        *entries, self._incomplete = (self._incomplete + data).split(b"\n")
        for entry in entries:
            time, _, rest = entry.partition(b" ")
            stream, _, rest = rest.partition(b" ")
            tag, space, text = rest.partition(b" ")
            if not space or tag not in (b"F", b"P"):
                continue  # an incomplete entry, of a full disk or a killed shim
            parts = self._parts.setdefault(stream, [])
            if not parts:
                self._times[stream] = datetime.fromisoformat(time.decode())
            parts.append(text)
            if tag == b"F" or sum(map(len, parts)) >= _LINE_LIMIT:
                yield self._line(stream, ends=tag == b"F")

    def drop_incomplete(self) -> None:
        """Drop an incomplete entry at the end of a segment: no entry continues in the next one."""
        self._incomplete = b""

    def end(self) -> Iterator[LogLine]:
        """Yield the lines without a line feed at the end of the log."""
        for stream, parts in self._parts.items():
            if parts:
                yield self._line(stream, ends=True)

    def _line(self, stream: bytes, *, ends: bool) -> LogLine:
        line = LogLine(self._times[stream], b"".join(self._parts[stream]), ends)
        self._parts[stream] = []
        return line


def _segments(directory: Path, run: int) -> Iterator[int]:
    for path in directory.glob(f"{run}.*.log"):
        number = path.name.split(".")[1]
        if number.isdigit():
            yield int(number)


def _open(path: Path) -> FileIO | None:
    try:
        return FileIO(path)
    except FileNotFoundError:
        return None  # removed by rotation
