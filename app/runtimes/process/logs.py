"""Reading what a container has written, while it writes."""

from collections.abc import Callable, Iterator
from datetime import datetime
from io import FileIO
from pathlib import Path

from app.runtimes.base import LogLine

_CHUNK = 64 * 1024
_LONGEST = 1024 * 1024
"""A line with more bytes is given as several."""


def read_log(directory: Path, run: int, *, is_over: Callable[[], bool]) -> Iterator[LogLine | None]:
    """Give the lines of one run; None, again and again, while it has not ended and nothing more is there.

    Args:
        directory: of the container's logs.
        run: which one.
        is_over: whether nothing will be written any more.
    """
    entries = _Entries()
    segment = -1
    file: FileIO | None = None
    try:
        while True:
            # Both are asked before it is read: what is written in between is not missed.
            over = is_over()
            newer = min((number for number in _segments(directory, run) if number > segment), default=None)
            if file and (data := file.read(_CHUNK)):
                yield from entries.feed(data)
            elif newer is not None:
                if file:
                    file.close()
                entries.forget_half()
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
    """Puts lines together again that were cut into entries."""

    def __init__(self) -> None:
        self._half = b""
        self._parts: dict[bytes, list[bytes]] = {}
        self._times: dict[bytes, datetime] = {}

    def feed(self, data: bytes) -> Iterator[LogLine]:
        """Take more of a file."""
        *entries, self._half = (self._half + data).split(b"\n")
        for entry in entries:
            time, _, rest = entry.partition(b" ")
            stream, _, rest = rest.partition(b" ")
            tag, space, text = rest.partition(b" ")
            if not space or tag not in (b"F", b"P"):
                continue  # half an entry, of a disk that was full or a shim that was killed
            parts = self._parts.setdefault(stream, [])
            if not parts:
                self._times[stream] = datetime.fromisoformat(time.decode())
            parts.append(text)
            if tag == b"F" or sum(map(len, parts)) >= _LONGEST:
                yield self._line(stream)

    def forget_half(self) -> None:
        """Forget an entry that has no end; each begins and ends in one file."""
        self._half = b""

    def end(self) -> Iterator[LogLine]:
        """Give the lines that nobody has ended."""
        for stream, parts in self._parts.items():
            if parts:
                yield self._line(stream)

    def _line(self, stream: bytes) -> LogLine:
        line = LogLine(self._times[stream], b"".join(self._parts[stream]))
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
        return None  # removed, as the oldest are
