"""One log for provider and broker: each line with the name of the part that wrote it."""

import asyncio
import atexit
import io
import sys
from contextlib import suppress
from contextvars import ContextVar
from threading import Lock, get_ident
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHUNK = 64 * 1024

PART = ContextVar("PART", default="provider")
"""The part that runs in the current context, where both are in one process."""


async def copy_lines(stream: asyncio.StreamReader | None, part: str) -> None:
    """Copy the lines of a stream to standard error until it ends, each with the name of its part.

    A line of JSON gets the key `part` and stays JSON; any other line gets the name in front.
    """
    output = LossyOutput(sys.stderr)
    rest = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        *lines, rest = (rest + chunk).split(b"\n")
        output.write(_tagged(lines, part))
    if rest:
        output.write(_tagged([rest], part))


def tag(line: bytes, part: str) -> bytes:
    r"""Add the name of a part to a line.

    >>> tag(b'{"event": "stopped"}', "broker")
    b'{"part":"broker","event": "stopped"}'
    >>> tag(b"Migrated.", "provider")
    b'provider | Migrated.'
    """
    name = part.encode()
    if line.startswith(b'{"'):
        return b'{"part":"' + name + b'",' + line[1:]
    return name.ljust(len("provider")) + b" | " + line


class LossyOutput(io.BufferedIOBase):
    """A stream that writes to another stream at once. Where the disk is full or nobody reads, the text is lost.

    Nothing is buffered, which would fail again at the next line, and at the end of the process.
    """

    def __init__(self, output: TextIO) -> None:
        self._text = output  # is closed when nothing refers to it
        self._raw = getattr(output.buffer, "raw", output.buffer)
        self._lock = Lock()

    @property
    def name(self) -> str:
        """The name of the other stream, such as `<stderr>`."""
        return self._text.name

    def writable(self) -> bool:
        """Return whether the stream can be written."""
        return True

    def isatty(self) -> bool:
        """Return whether the other stream is a terminal."""
        return self._text.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the other stream."""
        return self._text.fileno()

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write data; return the number of bytes."""
        chunk = bytes(data)
        with self._lock:
            self.write_chunk(chunk)
        return len(chunk)

    def write_chunk(self, chunk: bytes) -> None:
        """Write data, under the lock."""
        _write(self._raw, chunk)


class TaggedOutput(LossyOutput):
    """Writes each line with the name of the part that has written it.

    A line can arrive in several writes, and others meanwhile. So each thread has the line that it has begun.
    """

    def __init__(self, output: TextIO) -> None:
        super().__init__(output)
        self._incomplete: dict[tuple[str, int], bytes] = {}  # by part and thread

    def isatty(self) -> bool:
        """Return False: both parts write without colours."""
        return False

    def write_chunk(self, chunk: bytes) -> None:
        """Write the lines that are complete."""
        part = PART.get()
        writer = part, get_ident()
        *lines, rest = (self._incomplete.pop(writer, b"") + chunk).split(b"\n")
        if rest:
            self._incomplete[writer] = rest
        if lines:
            _write(self._raw, _tagged(lines, part))

    def write_rest(self) -> None:
        """Write the lines that were not completed, before the process ends."""
        with self._lock:
            for (part, _), rest in self._incomplete.items():
                _write(self._raw, _tagged([rest], part))
            self._incomplete.clear()


def ignore_full_disk() -> None:
    """Lose output of this process that cannot be written, where it would end a server, or fail its requests."""
    sys.stdout, sys.stderr = _text(LossyOutput(sys.stdout)), _text(LossyOutput(sys.stderr))


def tag_output() -> None:
    """Write all output of this process to standard error, each line with the name of its part.

    What cannot be written is lost.
    """
    output = TaggedOutput(sys.stderr)
    sys.stdout = sys.stderr = _text(output)
    atexit.register(output.write_rest)


def _text(output: LossyOutput) -> TextIO:
    """Return a stream of text. Characters that are not Unicode, as in names of files, are escaped.

    Without `write_through`, it would keep the begun line of one thread and complete it with another's.
    """
    return io.TextIOWrapper(output, "utf-8", errors="backslashreplace", line_buffering=True, write_through=True)


def _tagged(lines: list[bytes], part: str) -> bytes:
    return b"".join(tag(line, part) + b"\n" for line in lines)


def _write(stream: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    with suppress(OSError):
        while rest and (count := stream.write(rest)):
            rest = rest[count:]
