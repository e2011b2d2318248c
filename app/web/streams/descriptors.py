"""Read and write descriptors in an event loop, without buffers: pipes, sockets, terminals and files."""

import asyncio
import errno
import fcntl
import os
import socket
import stat
import termios
from array import array
from collections.abc import Callable
from contextlib import suppress

CHUNK_BYTES = 64 * 1024


async def read(descriptor: int) -> bytes:
    """Return the next bytes, at most 64 KiB; no bytes at the end.

    Raises:
        OSError: the connection is reset.
    """
    await asyncio.sleep(0)  # a descriptor that is always ready leaves time to the others
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            await _until(descriptor, loop.add_reader, loop.remove_reader)
        except OSError as exc:
            if exc.errno == errno.EIO:  # the end of a terminal
                return b""
            raise


async def write(descriptor: int, data: bytes) -> None:
    """Write all bytes.

    Raises:
        OSError: nothing reads from the other end.
    """
    view = memoryview(data)
    while view:
        view = view[await write_some(descriptor, view) :]


async def write_some(descriptor: int, data: memoryview) -> int:
    """Write bytes as soon as some are taken; return their number.

    Raises:
        OSError: nothing reads from the other end.
    """
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            await _until(descriptor, loop.add_writer, loop.remove_writer)


async def _until(descriptor: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    """Wait until a descriptor is ready."""
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)


def unsent(connection: int) -> int:
    """Return the number of bytes that the peer's system has not taken yet; 0 where the kernel does not tell."""
    size = array("i", (0,))
    with suppress(OSError):
        fcntl.ioctl(connection, termios.TIOCOUTQ, size)
    return size[0]


def end_input(descriptor: int) -> None:
    """Close a descriptor that was written to; its reader receives the end.

    A socket may be open for reading by another descriptor, so its direction is ended.
    """
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        with socket.socket(fileno=descriptor) as connection, suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
    else:
        os.close(descriptor)
