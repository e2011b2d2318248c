"""Client of a provider's streams: a WebSocket on a raw connection, where a refusal is an ordinary response.

The kit needs nothing but Python, so the few frames that it sends and reads are built here: RFC 6455, section 5.2.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from conformance.check import Failed, NotOffered, expect
from conformance.client import PodJSON, ProviderClient
from conformance.wire import Answer, Connection

STDIN, STDOUT, STATUS, CLOSE = 0, 1, 3, 255
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0, 2, 8, 9, 10
_FINAL = _MASKED = 128
_NO_CODE = 1005
_HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
}
_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The response to this key: RFC 6455, section 1.3."""


class Session(NamedTuple):
    """A session that has ended.

    Attributes:
        answer: the response to the handshake.
        data: channel → all that arrived on it.
        code: the code with which the provider closed the WebSocket; None if it did not.
    """

    answer: Answer
    data: dict[int, bytes]
    code: int | None


def execute(provider: ProviderClient, pod: PodJSON, *command: str, typed: bytes | None = None) -> Session:
    """Execute a command in the container of a pod; read until the end.

    Args:
        typed: standard input, which is then closed; None to use none.

    Raises:
        NotOffered: the provider does not support exec.
        Failed: the handshake is refused, or its response is not valid.
    """
    with provider.connect() as connection:
        answer = _open(provider, connection, pod, command, stdin=typed is not None)
        _check_handshake(answer)
        if typed is not None:
            connection.send(_frame(_BINARY, bytes((STDIN,)) + typed) + _frame(_BINARY, bytes((CLOSE, STDIN))))
        received, message, data, code = bytearray(), b"", dict[int, bytes](), None
        while code is None and (piece := connection.receive_some()):
            received += piece
            for opcode, payload, is_final in _frames(received):
                if opcode in (_BINARY, _CONTINUATION):
                    message += payload
                    if is_final and message:
                        data[message[0]] = data.get(message[0], b"") + message[1:]
                    message = b"" if is_final else message
                elif opcode == _PING:
                    connection.send(_frame(_PONG, payload))
                elif opcode == _CLOSE:
                    connection.send(_frame(_CLOSE, payload))
                    code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else _NO_CODE
        return Session(answer, data, code)


def refused(provider: ProviderClient, pod: PodJSON, *command: str) -> Answer:
    """Return the response to a handshake that is to be refused."""
    with provider.connect() as connection:
        return _open(provider, connection, pod, command)


def _open(
    provider: ProviderClient, connection: Connection, pod: PodJSON, command: Sequence[str], *, stdin: bool = False
) -> Answer:
    """Send the handshake of an exec in the container of a pod; return the response.

    Raises:
        NotOffered: the provider does not support exec.
    """
    metadata = pod["metadata"]
    query = [
        ("namespace", metadata["namespace"]),
        ("podName", metadata["name"]),
        ("containerName", "web"),
        *(("command", word) for word in command),
        ("stdout", "true"),
        *([("stdin", "true")] if stdin else []),
    ]
    request = provider.prepare("GET", f"/exec?{urlencode(query)}")
    answer = connection.exchange(request._replace(headers={**request.headers, **_HANDSHAKE}))
    if answer.code == 501:
        raise NotOffered("the provider does not support exec")
    return answer


def _frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole message of a client, masked with zeros, which leave the payload as it is."""
    length = len(payload)
    if length < 126:
        size = struct.pack("!B", _MASKED | length)
    elif length < 1 << 16:
        size = struct.pack("!BH", _MASKED | 126, length)
    else:
        size = struct.pack("!BQ", _MASKED | 127, length)
    return bytes((_FINAL | opcode,)) + size + bytes(4) + payload


def _frames(received: bytearray) -> Iterator[tuple[int, bytes, bool]]:
    """Remove the complete frames of a server from the bytes received.

    Yields:
        The opcode, the payload, and whether it is the last frame of its message.
    """
    while len(received) >= 2:
        length, start = received[1] & 127, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(received) < start:
                return
            length = int.from_bytes(received[2:start])
        if len(received) < start + length:
            return
        head, payload = received[0], bytes(received[start : start + length])
        del received[: start + length]
        yield head & 15, payload, bool(head & _FINAL)


def _check_handshake(answer: Answer) -> None:
    if answer.code != 101:
        raise Failed(f"GET /exec returns {answer.status}, not 101", answer)
    upgrade = answer.header("Upgrade") or "missing"  # compared without case: RFC 6455, section 4.1
    expect(upgrade.lower() == "websocket", f"Upgrade is {upgrade}", answer)
    for name, wanted in (("Sec-WebSocket-Accept", _ACCEPT), ("Sec-WebSocket-Protocol", "v5.channel.k8s.io")):
        expect(answer.header(name) == wanted, f"{name} is {answer.header(name) or 'missing'}", answer)
