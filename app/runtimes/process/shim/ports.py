"""Connecting to a port of the pod. Linux only.

The pod shares the network of the machine, so its ports stand among those of the provider, of other pods and of
other services, some of which trust every client on 127.0.0.1. So a connection is made only to a port on which a
process of the pod listens, at the address at which it listens. The kernel tells which sockets listen
(`/proc/net/tcp`), and which a process has open (`/proc/<pid>/fd`).
"""

import contextlib
import os
import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

_LISTEN = "0A"
"""The state of a listening socket in `/proc/net/tcp`; see `include/net/tcp_states.h` of Linux."""
_TIMEOUT_SECONDS = 1.0
_LOOPBACK = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}  # noqa: S104 - compared, not listened on
"""Where a socket that listens on all addresses is reached; one of IPv6 usually accepts IPv4 too."""


class _Listener(NamedTuple):
    address: str
    inode: str


def connect(port: int, pids: Collection[int]) -> socket.socket:
    """Return a connection to a TCP port on which one of the processes listens.

    Raises:
        OSError: none listens there, or the connection is not accepted in time.
    """
    listeners = [*_listeners("/proc/net/tcp", port), *_listeners("/proc/net/tcp6", port)]
    open_sockets = _sockets(pids) if listeners else set()
    foreign = {listener.address for listener in listeners if listener.inode not in open_sockets}
    problem: OSError = ConnectionRefusedError("connection refused")
    for listener in listeners:
        if listener.inode not in open_sockets:
            continue
        for address in _LOOPBACK.get(listener.address, (listener.address,)):
            if address in foreign or _any_address(address) in foreign:
                continue  # another process might accept the connection
            try:
                return _connection(address, port)
            except OSError as exc:
                problem = exc
    raise problem


def _connection(address: str, port: int) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        connection.settimeout(_TIMEOUT_SECONDS)
        connection.connect((address, port))
        connection.settimeout(None)  # or a relay that gets the descriptor reads EAGAIN before there is data
    except OSError:
        connection.close()
        raise
    return connection


def _any_address(address: str) -> str:
    return "::" if ":" in address else "0.0.0.0"  # noqa: S104 - compared, not listened on


def _listeners(path: str, port: int) -> Iterator[_Listener]:
    """Yield the sockets that listen on a port; none if the machine lacks the protocol."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        for line in file:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            address, _, number = local.partition(":")
            if state == _LISTEN and int(number, 16) == port:
                yield _Listener(_address(address), inode)


def _address(digits: str) -> str:
    """Return an address from the hexadecimal digits of its 32-bit words, each in the byte order of the machine."""
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _sockets(pids: Collection[int]) -> set[str]:
    """Return the inode numbers of the sockets that processes have open."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    kind, _, inode = os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")
                    if kind == "socket":
                        found.add(inode.strip("[]"))
    return found
