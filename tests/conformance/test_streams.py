"""The kit's client of streams: what a provider may send, though this one does not."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from conformance.client import ProviderClient, Target
from conformance.streams import STATUS, STDOUT, execute

HANDSHAKE = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
)
CLOSED = b"\x88\x02\x03\xe8"


@contextmanager
def answering(response: bytes) -> Iterator[ProviderClient]:
    """Yield a client of a server that answers its first connection with these bytes."""

    def answer() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(response)
            while connection.recv(1000):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=answer)
        thread.start()
        yield ProviderClient(Target("127.0.0.1", listener.getsockname()[1]))
        thread.join()


@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket"])
def test_upgrade_is_compared_without_case(upgrade: bytes) -> None:
    with answering(HANDSHAKE % upgrade + CLOSED) as provider:
        assert execute(provider, provider.pod(), "true").code == 1000


def test_a_message_in_fragments_is_one() -> None:
    fragments = b"\x02\x02\x01o" + b"\x89\x00" + b"\x00\x00" + b"\x80\x03ut\n"  # a ping may come between
    with answering(HANDSHAKE % b"websocket" + fragments + b"\x02\x00\x80\x03\x03{}" + CLOSED) as provider:
        assert execute(provider, provider.pod(), "true").data == {STDOUT: b"out\n", STATUS: b"{}"}
