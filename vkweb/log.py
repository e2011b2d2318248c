"""One log for several processes: each line with the name of the process that wrote it."""

import asyncio
import sys

_CHUNK = 64 * 1024


async def copy_lines(stream: asyncio.StreamReader | None, part: str) -> None:
    """Copy the lines of a stream to standard error until it ends, each with the name of its part.

    A line of JSON gets the key `part` and stays JSON; any other line gets the name in front.
    """
    rest = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        *lines, rest = (rest + chunk).split(b"\n")
        _write([tag(line, part) for line in lines])
    if rest:
        _write([tag(rest, part)])


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


def _write(lines: list[bytes]) -> None:
    sys.stderr.buffer.write(b"".join(line + b"\n" for line in lines))
    sys.stderr.buffer.flush()
