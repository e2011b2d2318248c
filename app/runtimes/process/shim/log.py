"""The log of a container, in the CRI logging format.

    2026-11-22T08:46:38.123456789Z stdout F a whole line
    2026-11-22T08:46:38.123456789Z stdout P the first part of a long one

Source: the CRI logging format of Kubernetes (`kubelet/cri-api`, "CRI logging"). A run of a container has segments,
`<run>.<segment>.log`. Rotation removes the oldest segment and renames none, so that a reader can keep its place.
"""

import contextlib
import os
import time

ENTRY_LIMIT = 16 * 1024
"""The largest entry in bytes; a longer line is split, as in containerd."""

_SEGMENT_BYTES = 10 * 1024 * 1024
_SEGMENTS = 5
"""A kubelet's defaults for `containerLogMaxSize` and `containerLogMaxFiles`."""
_END_BYTES = 4 * ENTRY_LIMIT
"""How much of a log is read for the end of it."""


class Log:
    """The log of one run. On a full disk lines are lost, and their number of bytes is logged later.

    Args:
        directory: the container's directory.
        run: the number of the run; the logs of runs before the previous one are removed.
        segment_bytes: the size at which a new segment begins.
    """

    def __init__(self, directory: str, run: int, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self._directory = directory
        self._run = run
        self._segment_bytes = segment_bytes
        self._segment = -1
        self._fd = -1
        self._size = 0
        self._lost = 0
        for name in _names(directory):
            if _number(name) < run - 1:
                _remove(directory, name)

    def write(self, stream: str, entries: list[tuple[bytes, bool]]) -> None:
        """Append entries with the current time.

        Args:
            stream: `stdout` or `stderr`.
            entries: text without a line feed, and whether the text ends its line.
        """
        if not entries:
            return
        prefix = f"{_rfc3339_nano(time.time_ns())} {stream} ".encode()
        data = b"".join([b"%b%b %b\n" % (prefix, b"F" if ends else b"P", text) for text, ends in entries])
        if self._lost:
            # The last write may have been incomplete, so start a new line.
            data = b"\n%bF [%d bytes of this log are lost]\n" % (prefix, self._lost) + data
        try:
            if self._fd < 0 or self._size >= self._segment_bytes:
                self._next_segment()
            written = os.write(self._fd, data)
            self._size += written
            if written < len(data):  # on a full disk: the second write raises the error
                self._size += os.write(self._fd, data[written:])
            self._lost = 0
        except OSError:
            self._lost += sum(len(text) for text, _ in entries)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _next_segment(self) -> None:
        os.makedirs(self._directory, exist_ok=True)
        path = os.path.join(self._directory, f"{self._run}.{self._segment + 1}.log")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.close()
        self._fd, self._size = fd, 0
        self._segment += 1
        if self._segment >= _SEGMENTS:
            _remove(self._directory, f"{self._run}.{self._segment - _SEGMENTS}.log")


class Lines:
    """Splits the bytes of a pipe into entries of a log, with bounded memory."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Parse more bytes, and return the entries that they complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        entries = []
        for line in lines:
            entries += _split(line)
        while len(self._rest) >= ENTRY_LIMIT:
            entries.append((self._rest[:ENTRY_LIMIT], False))
            self._rest = self._rest[ENTRY_LIMIT:]
        return entries

    def end(self) -> list[tuple[bytes, bool]]:
        """Return the last line if it has no line feed."""
        rest, self._rest = self._rest, b""
        return [(rest, True)] if rest else []


def last_lines(directory: str, run: int, *, lines: int, limit: int) -> bytes:
    """Return the end of the log of a run: its text alone, with line feeds.

    Args:
        directory: the container's directory.
        lines: the greatest number of lines.
        limit: the greatest number of bytes.
    """
    segments = sorted((name for name in _names(directory) if _number(name) == run), key=_segment_number)
    data = b""
    for name in reversed(segments):
        data = _end_of(os.path.join(directory, name), _END_BYTES - len(data)) + data
        if len(data) >= _END_BYTES:
            data = data.partition(b"\n")[2]  # it begins within an entry
            break
    text = b""
    for entry in data.splitlines(keepends=True):
        _, _, rest = entry.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, space, part = rest.partition(b" ")
        if space and tag in (b"F", b"P"):
            text += part if tag == b"F" else part[:-1]
    whole = text.split(b"\n")
    kept = whole[-lines - 1 :] if text.endswith(b"\n") else whole[-lines:]
    return b"\n".join(kept)[-limit:]


def _end_of(path: str, size: int) -> bytes:
    """Return the last bytes of a file; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)
    except OSError:
        return b""


def _split(line: bytes) -> list[tuple[bytes, bool]]:
    parts = [line[start : start + ENTRY_LIMIT] for start in range(0, len(line), ENTRY_LIMIT)] or [b""]
    return [*((part, False) for part in parts[:-1]), (parts[-1], True)]


def _rfc3339_nano(time_ns: int) -> str:
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if name.endswith(".log")]
    except OSError:
        return []


def _number(name: str) -> int:
    return int(name.partition(".")[0])


def _segment_number(name: str) -> int:
    return int(name.split(".")[1])


def _remove(directory: str, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(directory, name))
