"""exec and attach over WebSocket, between a client and a provider that the tests script."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.broker.kubelet.conftest import Kubelet, Node
from tests.stub_provider.streams import Socket, StreamProvider, exit_status

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
EXEC = "/exec/shop/web/app"
CAT = {"command": "cat", "input": "1", "output": "1"}


@pytest.fixture
async def stub() -> AsyncIterator[StreamProvider]:
    """The provider."""
    async with StreamProvider().running() as stub:
        yield stub


class Client:
    """A WebSocket client of a kubelet API."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def connect(
        self, path: str = EXEC, *, protocols: tuple[str, ...] = (V5,), **query: str
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a session; by default `cat` with standard input and output."""
        url = self._kubelet.url + path
        return await self._kubelet.session.ws_connect(url, params=query or CAT, protocols=protocols)

    async def refusal(self, path: str = EXEC, **query: str) -> tuple[int, str]:
        """Ask for a session that is refused; return code and message of the `Status`."""
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        url = self._kubelet.url + path
        async with self._kubelet.session.get(url, params=query or CAT, headers=headers) as response:
            status = await response.json()
            assert status["kind"] == "Status"
            assert status["status"] == "Failure"
            assert status["code"] == response.status
            return response.status, status["message"]


@pytest.fixture
def streams(kubelet: Kubelet) -> Client:
    """A client of the API."""
    return Client(kubelet)


async def everything(ws: aiohttp.ClientWebSocketResponse) -> list[bytes]:
    """Return all messages up to the close frame."""
    return [message.data async for message in ws]


async def test_exec_carries_bytes_and_status(streams: Client, stub: StreamProvider) -> None:
    ws = await streams.connect(command="cat", input="1", output="1", error="1")
    assert await ws.receive_bytes() == b"\x01"  # the session is open
    await ws.send_bytes(b"\x00typed")
    assert await ws.receive_bytes() == b"\x01typed"
    await ws.send_bytes(b"\xff\x00")
    final = await ws.receive_bytes()
    assert json.loads(final[1:])["status"] == "Success"
    assert await everything(ws) == []
    assert (ws.protocol, ws.close_code) == (V5, 1000)
    where = [("namespace", "shop"), ("podName", "web"), ("containerName", "app")]
    wanted = [("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    assert stub.requests == [("/exec", [*where, *wanted, ("command", "cat")], V5)]


async def test_an_exit_code_arrives(streams: Client, stub: StreamProvider) -> None:
    async def fail(socket: Socket) -> None:
        await socket.send_bytes(b"\x02no such file")
        await socket.send_bytes(b"\x03" + exit_status(3))

    stub.script = fail
    ws = await streams.connect(command="cat", output="1", error="1")
    opened, error, final = await everything(ws)
    assert (opened, error) == (b"\x01", b"\x02no such file")
    assert json.loads(final[1:])["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_an_unknown_pod_is_refused(streams: Client, stub: StreamProvider, node: Node) -> None:
    assert await streams.refusal("/exec/shop/other/app") == (404, "pod does not exist")
    assert await streams.refusal("/exec/shop/web/other") == (404, 'container not found ("other")')
    assert await streams.refusal("/exec/shop/web/uid-of-other/app") == (404, 'container not found ("app")')
    assert stub.requests == []


async def test_a_session_without_streams_is_refused(streams: Client) -> None:
    message = "you must specify at least 1 of stdin, stdout, stderr"
    assert await streams.refusal(command="cat") == (400, message)
    assert await streams.refusal(command="cat", tty="1", error="1") == (400, message)


async def test_a_provider_without_streams_is_named(streams: Client, stub: StreamProvider) -> None:
    stub.extensions = {}
    code, message = await streams.refusal()
    assert code == 501
    assert "its provider does not have the extension streams" in message


async def test_the_providers_refusal_comes_before_the_upgrade(streams: Client, stub: StreamProvider) -> None:
    stub.refusal = 404, '{"error": {"code": 404, "message": "container app is not running: it waits"}}'
    assert await streams.refusal() == (404, "container app is not running: it waits")
    stub.refusal = 500, "no shell: none"
    assert await streams.refusal() == (500, "no shell: none")
    stub.refusal = 401, "no token"
    assert await streams.refusal() == (502, "no token")
