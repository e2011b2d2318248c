"""One log for provider and broker: each line with the name of the part that wrote it."""

import asyncio
import io
import sys
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

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
    """A stream that writes each line to another stream, with the name of the part that has written it."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._lock = Lock()
        self._incomplete: dict[str, bytes] = {}  # the line that each part has begun

    def writable(self) -> bool:
        """Return whether the stream can be written."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write the lines that are complete; return the number of bytes."""
        part, chunk = PART.get(), bytes(data)
        with self._lock:
            *lines, self._incomplete[part] = (self._incomplete.get(part, b"") + chunk).split(b"\n")
            if lines:
                _write(self._output, lines, part)
        return len(chunk)


def tag_output() -> None:
    """Write all output of this process to standard error, each line with the name of its part."""
    sys.stdout = sys.stderr = io.TextIOWrapper(TaggedOutput(sys.stderr.buffer), "utf-8", line_buffering=True)


def _write(output: BinaryIO, lines: list[bytes], part: str) -> None:
    output.write(b"".join(tag(line, part) + b"\n" for line in lines))
    output.flush()
