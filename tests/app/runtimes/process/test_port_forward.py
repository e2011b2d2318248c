"""Connections to ports of a pod: to those on which its processes listen, and to no others of the machine."""

import socket
import sys

import pytest

from app.core.errors import Unavailable
from tests.app.runtimes.process import Driven, shell
from tests.app.runtimes.process.conftest import Run
from tests.waiting import eventually

LISTEN = """
import socket, sys
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family, reuse_port=True)
    print(listener.getsockname()[1], flush=True)
    sockets = globals().setdefault("sockets", []) + [listener]
for listener in sockets:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(100).upper())
"""


def listening(run: Run, *addresses: str, wrapper: tuple[str, ...] = ()) -> tuple[Driven, list[int]]:
    """Start a pod that listens on addresses, answers one connection to each in their order, and ends."""
    command = [*wrapper, sys.executable, "-c", LISTEN, *addresses]
    pod = run({"name": "web", "command": command}, restartPolicy="Never")
    lines = eventually(lambda: found if len(found := pod.log()) == len(addresses) else None)
    return pod, [int(line) for line in lines]


def echo(pod: Driven, port: int) -> bytes:
    with pod.runtime.port_forward(pod.pod, port) as connection:
        connection.settimeout(30)
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def test_a_port_is_reached_where_it_listens(run: Run) -> None:
    pod, ports = listening(run, "127.0.0.1", "0.0.0.0", "::1", "::", "127.0.0.7")
    assert [echo(pod, port) for port in ports] == [b"HELLO"] * 5


def test_processes_without_environment_belong_to_a_pod(run: Run) -> None:
    pod, (port,) = listening(run, "127.0.0.1", wrapper=("/bin/sh", "-c", 'setsid env -i "$@" & wait', "sh"))
    assert echo(pod, port) == b"HELLO"


def test_other_ports_of_the_machine_are_refused(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot connect to port {port} of the pod: connection refused"):
            pod.runtime.port_forward(pod.pod, port)
    with pytest.raises(Unavailable, match="connection refused"):
        pod.runtime.port_forward(pod.pod, port)


def test_a_port_shared_with_others_is_refused(run: Run) -> None:
    pod, (port,) = listening(run, "127.0.0.1")
    with (
        socket.create_server(("127.0.0.1", port), reuse_port=True),
        pytest.raises(Unavailable, match="connection refused"),
    ):
        pod.runtime.port_forward(pod.pod, port)
    assert echo(pod, port) == b"HELLO"
