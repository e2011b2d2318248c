"""TCP connections of sessions."""

import asyncio
import socket

_ESTABLISHED = 1


def has_disconnected(transport: asyncio.BaseTransport) -> bool:
    """Return whether the peer of a connection has ended it.

    A connection that is not read, because the other end of the session takes nothing, reports its end to nobody.
    The kernel knows.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    if transport.is_closing():
        return True
    if connection is None or not hasattr(socket, "TCP_INFO"):  # Linux only
        return False
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
    except OSError:
        return True


def keep_open(connection: socket.socket | None) -> None:
    """Set the options of a connection that may be idle or unread for any time; a peer that is lost is found."""
    if connection is None or not hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only
        return
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ):
        connection.setsockopt(level, option, value)
