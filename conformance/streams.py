"""Client of a provider's streams: a WebSocket on a raw connection, where a refusal is an ordinary response."""

from typing import Any, NamedTuple
from urllib.parse import urlencode

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from conformance.check import Failed, NotOffered, expect
from conformance.client import PodJSON, ProviderClient
from conformance.wire import Answer

STDIN, STDOUT, STATUS, CLOSE = 0, 1, 3, 255
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
    query = [*_names(pod), *(("command", word) for word in command), ("stdout", "true")]
    if typed is not None:
        query.append(("stdin", "true"))
    with provider.connect() as connection:
        request = provider.prepare("GET", f"/exec?{urlencode(query)}")
        answer = connection.exchange(request._replace(headers={**request.headers, **_HANDSHAKE}))
        _check_handshake(answer)
        websocket = Protocol(Side.CLIENT)
        data: dict[int, bytes] = {}
        if typed is not None:
            websocket.send_binary(bytes((STDIN,)) + typed)
            websocket.send_binary(bytes((CLOSE, STDIN)))
        while True:
            connection.send(b"".join(websocket.data_to_send()))
            if not (received := connection.receive_some()):
                break
            websocket.receive_data(received)
            for frame in websocket.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.BINARY and frame.data:
                    channel = frame.data[0]
                    data[channel] = data.get(channel, b"") + bytes(frame.data[1:])
        websocket.receive_eof()
        return Session(answer, data, websocket.close_rcvd.code if websocket.close_rcvd else None)


def refused(provider: ProviderClient, pod: PodJSON, *command: str) -> Answer:
    """Return the response to a handshake that is to be refused."""
    query = [*_names(pod), *(("command", word) for word in command), ("stdout", "true")]
    with provider.connect() as connection:
        request = provider.prepare("GET", f"/exec?{urlencode(query)}")
        answer = connection.exchange(request._replace(headers={**request.headers, **_HANDSHAKE}))
    if answer.code == 501:
        raise NotOffered("the provider does not support exec")
    return answer


def _names(pod: PodJSON) -> list[tuple[str, Any]]:
    metadata = pod["metadata"]
    return [("namespace", metadata["namespace"]), ("podName", metadata["name"]), ("containerName", "web")]


def _check_handshake(answer: Answer) -> None:
    if answer.code == 501:
        raise NotOffered("the provider does not support exec")
    if answer.code != 101:
        raise Failed(f"GET /exec returns {answer.status}, not 101", answer)
    for name, wanted in (
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Accept", _ACCEPT),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    ):
        expect(answer.header(name) == wanted, f"{name} is {answer.header(name) or 'missing'}", answer)
