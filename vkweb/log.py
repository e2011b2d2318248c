"""One log for provider and broker: each line with the name of the part that wrote it."""

import asyncio
import atexit
import io
import sys
from contextlib import suppress
from contextvars import ContextVar
from threading import Lock, get_ident
from typing import TYPE_CHECKING, BinaryIO, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHUNK = 64 * 1024

PART = ContextVar("PART", default="provider")
"""The part that runs in the current context, where both are in one process."""


async def copy_lines(stream: asyncio.StreamReader | None, part: str) -> None:
    """Copy the lines of a stream to standard error until it ends, each with the name of its part.

    A line of JSON gets the key `part` and stays JSON; any other line gets the name in front.
    """
    rest = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        *lines, rest = (rest + chunk).split(b"\n")
        _write(sys.stderr.buffer, lines, part)
    if rest:
        _write(sys.stderr.buffer, [rest], part)


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


class TaggedOutput(io.BufferedIOBase):
    """A stream that writes each line to another stream, with the name of the part that has written it.

    A line can arrive in several writes, and others meanwhile. So each thread has the line that it has begun.
    """

    def __init__(self, output: TextIO) -> None:
        self._text = output  # is closed when nothing refers to it
        self._output = output.buffer
        self._lock = Lock()
        self._incomplete: dict[tuple[str, int], bytes] = {}  # by part and thread

    def writable(self) -> bool:
        """Return whether the stream can be written."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write the lines that are complete; return the number of bytes."""
        chunk = bytes(data)
        part = PART.get()
        writer = part, get_ident()
        with self._lock:
            *lines, rest = (self._incomplete.pop(writer, b"") + chunk).split(b"\n")
            if rest:
                self._incomplete[writer] = rest
            if lines:
                _write(self._output, lines, part)
        return len(chunk)

    def write_rest(self) -> None:
        """Write the lines that were not completed, before the process ends."""
        with self._lock:
            for (part, _), rest in self._incomplete.items():
                _write(self._output, [rest], part)
            self._incomplete.clear()


def tag_output() -> None:
    """Write all output of this process to standard error, each line with the name of its part.

    Characters that are not Unicode, as in names of files, are escaped, as Python does on standard error.
    """
    output = TaggedOutput(sys.stderr)
    # Without `write_through`, the stream would keep the begun line of one thread and complete it with another's.
    sys.stdout = sys.stderr = io.TextIOWrapper(
        output, "utf-8", errors="backslashreplace", line_buffering=True, write_through=True
    )
    atexit.register(output.write_rest)


def _write(output: BinaryIO, lines: list[bytes], part: str) -> None:
    """Write lines. They are lost if the disk is full or the reader of a pipe has ended: the nodes go on.

    Nothing is buffered, which would fail again at the next line, and at the end of the process.
    """
    rest = memoryview(b"".join(tag(line, part) + b"\n" for line in lines))
    stream = getattr(output, "raw", output)
    with suppress(OSError):
        while rest and (count := stream.write(rest)):
            rest = rest[count:]
