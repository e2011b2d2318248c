"""Calls of the kernel for which Python has no function, through the C library."""

import ctypes
import os
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_RELATIME = 1 << 21

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any, path: str | None = None) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it fails; `filename` is `path`.
    """
    converted = [
        ctypes.c_ulong(value) if name == "mount" and isinstance(value, int) else value for value in arguments
    ]
    if getattr(_libc, name)(*converted):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def mount(
    source: str | None, target: str, *, flags: int, type_: str | None = None, options: str | None = None
) -> None:
    """Mount a file system, or change a mount; errors as of :func:`call`."""
    call("mount", _bytes(source), _bytes(target), _bytes(type_), flags, _bytes(options), path=target)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
