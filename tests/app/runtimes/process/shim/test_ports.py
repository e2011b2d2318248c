"""Connections to the ports of a pod."""

import os
import socket

from app.runtimes.process.shim.ports import connect


def test_a_connection_waits_for_data() -> None:
    """The relay on Slurm reads its descriptor, also where no data has come yet."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        connect(server.getsockname()[1], [os.getpid()]) as connection,
    ):
        assert os.get_blocking(connection.fileno())
