"""A client of the contract's streams: a WebSocket of `v5.channel.k8s.io` over a socket."""

import json
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
POD = (("namespace", "default"), ("podName", "web-0"))
CONTAINER = (*POD, ("containerName", "web"))
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
}


class Refusal(NamedTuple):
    """A response in place of the upgrade."""

    code: int
    error: dict[str, Any]


class Stream:
    """An open stream."""

    def __init__(
        self,
        port: int,
        path: str,
        query: Sequence[tuple[str, object]],
        *,
        subprotocol: str = "v5.channel.k8s.io",
        headers: dict[str, str] | None = None,
    ) -> None:
        self._connect = connect(
            f"ws://127.0.0.1:{port}{path}?{urlencode(query)}",
            subprotocols=[Subprotocol(subprotocol)],
            additional_headers=headers,
            compression=None,
            max_size=None,
            proxy=None,
            ping_interval=None,
        )
        self.websocket = self._connect.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connect.__exit__(kind, exc, trace)

    def send(self, data: bytes, *, channel: int = STDIN) -> None:
        """Send a message on a channel."""
        self.websocket.send(bytes((channel,)) + data)

    def end_input(self) -> None:
        """Close standard input."""
        self.send(bytes((STDIN,)), channel=CLOSE)

    def resize(self, width: int, height: int) -> None:
        """Send a window size."""
        self.send(json.dumps({"Width": width, "Height": height}).encode(), channel=RESIZE)

    def receive(self) -> tuple[int, bytes]:
        """Return the next message: its channel and its data."""
        message = self.websocket.recv(timeout=30)
        assert isinstance(message, bytes)
        return message[0], message[1:]

    def read_until(self, end: bytes, *, channel: int = STDOUT) -> bytes:
        """Return what arrives on a channel, up to a message that ends so."""
        data = b""
        while not data.endswith(end):
            came_on, more = self.receive()
            assert came_on == channel, (came_on, more)
            data += more
        return data

    def read_all(self) -> dict[int, bytearray]:
        """Return all further data by channel, until the server closes the WebSocket."""
        data: dict[int, bytearray] = {}
        try:
            while True:
                channel, more = self.receive()
                data.setdefault(channel, bytearray()).extend(more)
        except ConnectionClosed:
            return data

    def finish(self) -> tuple[bytes, bytes, int]:
        """Return standard output, standard error and the exit code, at the end."""
        data = self.read_all()
        out, errors = (bytes(data.get(channel, b"")) for channel in (STDOUT, STDERR))
        return out, errors, exit_code(data[STATUS])

    def close(self) -> None:
        """Close the WebSocket."""
        self.websocket.close()

    def abort(self) -> None:
        """Close the connection without a handshake, as a client that is killed."""
        self.websocket.socket.shutdown(socket.SHUT_RDWR)


def exit_code(status: bytes | bytearray) -> int:
    """Return the exit code in a Status."""
    found = json.loads(status)
    if found["status"] == "Success":
        return 0
    assert found["reason"] == "NonZeroExitCode", found
    (cause,) = found["details"]["causes"]
    assert cause["reason"] == "ExitCode"
    return int(cause["message"])


def refusal(port: int, path: str, query: Sequence[tuple[str, object]], **options: Any) -> Refusal:
    """Return the response to a stream that is refused."""
    try:
        Stream(port, path, query, **options)
    except InvalidStatus as exc:
        return Refusal(exc.response.status_code, json.loads(exc.response.body)["error"])
    raise AssertionError("the stream was opened")
