"""What a container writes, line by line in a container runtime's own format.

    2026-11-22T08:46:38.123456789Z stdout F a whole line
    2026-11-22T08:46:38.123456789Z stdout P the first part of a long one

Source: the CRI logging format of Kubernetes (`kubelet/cri-api`, "CRI logging"). A run of a container has segments,
`<run>.<segment>.log`; the oldest goes when there are too many, so a log has a bound and a reader never sees a
file change its name.
"""

import contextlib
import os
import time

LONGEST = 16 * 1024
"""How many bytes of a line make an entry of their own, as in containerd."""

_SEGMENT_BYTES = 10 * 1024 * 1024
_SEGMENTS = 5
"""A kubelet's defaults for `containerLogMaxSize` and `containerLogMaxFiles`."""


class Log:
    """The log of one run. A disk that is full loses lines, says how many bytes, and stops nothing.

    Args:
        directory: the container's own.
        run: the number of the run; logs of runs before the last one are removed.
        segment_bytes: from when on a new segment begins.
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
        """Append entries of one moment.

        Args:
            stream: `stdout` or `stderr`.
            entries: each a text without a line feed, and whether a line ends with it.
        """
        if not entries:
            return
        prefix = f"{_rfc3339_nano(time.time_ns())} {stream} ".encode()
        data = b"".join([b"%b%b %b\n" % (prefix, b"F" if ends else b"P", text) for text, ends in entries])
        if self._lost:
            # What was written last may be half a line.
            data = b"\n%bF [%d bytes of this log are lost]\n" % (prefix, self._lost) + data
        try:
            if self._fd < 0 or self._size >= self._segment_bytes:
                self._next_segment()
            written = os.write(self._fd, data)
            self._size += written
            if written < len(data):  # seldom but on a full disk: the rest says why
                self._size += os.write(self._fd, data[written:])
            self._lost = 0
        except OSError:
            self._lost += sum(len(text) for text, _ in entries)

    def close(self) -> None:
        """Let go of the file."""
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
    """Cuts what comes out of a pipe into entries of a log. Nothing grows, however long a line is."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Take more, and give the entries that it completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        entries = []
        for line in lines:
            entries += _cut(line)
        while len(self._rest) >= LONGEST:
            entries.append((self._rest[:LONGEST], False))
            self._rest = self._rest[LONGEST:]
        return entries

    def end(self) -> list[tuple[bytes, bool]]:
        """Give what is left of a last line that nobody has ended."""
        rest, self._rest = self._rest, b""
        return [(rest, True)] if rest else []


def _cut(line: bytes) -> list[tuple[bytes, bool]]:
    parts = [line[start : start + LONGEST] for start in range(0, len(line), LONGEST)] or [b""]
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


def _remove(directory: str, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(directory, name))
