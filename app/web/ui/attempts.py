"""The limit on attempts to sign in: ten at once from an address, then one in six seconds.

All workers of a server share it, and its size does not depend on the number of addresses: a file with a fixed
number of slots, which gunicorn's configuration places in memory beside the metrics. An address has a slot by a
keyed hash, so a client cannot choose one that shares a slot with another. Two addresses in one slot share their
attempts. The IPv6 addresses of a network of 64 bits count as one, since one client often has them all.

A slot is the time at which the attempts of its addresses are used up to nothing again (GCRA, the generic cell rate
algorithm): each attempt moves it six seconds on, and it may be at most a minute ahead.
"""

import fcntl
import hashlib
import hmac
import ipaddress
import os
import struct
import tempfile
import threading
import weakref
from functools import cached_property
from pathlib import Path

from app.core.metrics import MULTIPROCESS_DIRECTORY

_SLOTS = 8192
_SLOT = struct.Struct("<d")
_SECONDS_PER_ATTEMPT = 6
_LONGEST_SECONDS = 60
_FILE = "sign-in-attempts"


class SignInAttempts:
    """Counts attempts to sign in.

    Args:
        key: the secret of the hash.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()

    def take(self, address: str, *, now: float) -> float:
        """Count an attempt of an address.

        Args:
            now: seconds since 1970.

        Returns:
            0 if the attempt is allowed; else the seconds after which the next one is.
        """
        return self._move(address, _SECONDS_PER_ATTEMPT, now=now)

    def give_back(self, address: str, *, now: float) -> None:
        """Count an attempt less: it was successful."""
        self._move(address, -_SECONDS_PER_ATTEMPT, now=now)

    def _move(self, address: str, seconds: float, *, now: float) -> float:
        offset = self._slot(address) * _SLOT.size
        with self._lock:  # the lock of the file excludes those who have opened it themselves, not other threads
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                stored = os.pread(self._file, _SLOT.size, offset)
                until = _SLOT.unpack(stored)[0] if len(stored) == _SLOT.size else 0.0
                if until > now + _LONGEST_SECONDS:  # the clock was set back
                    until = now
                moved = max(until, now) + seconds
                if moved > now + _LONGEST_SECONDS:
                    return moved - now - _LONGEST_SECONDS
                os.pwrite(self._file, _SLOT.pack(moved), offset)
                return 0
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _slot(self, address: str) -> int:
        digest = hmac.digest(self._key, _network(address).encode(), hashlib.sha256)
        return int.from_bytes(digest[:4]) % _SLOTS

    @cached_property
    def _file(self) -> int:
        """The file descriptor. A single process has a file of its own, without a name."""
        directory = os.environ.get(MULTIPROCESS_DIRECTORY)
        if directory is None:
            with tempfile.TemporaryFile() as unnamed:
                file = os.dup(unnamed.fileno())
        else:
            file = os.open(Path(directory) / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, file)
        return file


def _network(address: str) -> str:
    """Return an address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)
