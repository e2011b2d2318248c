"""The kubelet API under clients that are slow or never finish: real sockets, a small limit."""

import asyncio
import select
import socket
import ssl
import tracemalloc

import pytest
from aiohttp import web

from broker.kubelet import server as module
from tests.broker.kubelet.conftest import Kubelet, Node, Start
from tests.postgres import free_port

HALF_REQUESTS = {"silent": b"", "half a line": b"GET /hea", "half a head": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"}


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.3)
    monkeypatch.setattr(module, "BODY_TIMEOUT", 0.3)


async def connect(port: int, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="127.0.0.1" if tls else None)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.fixture(params=["kubelet API", "metrics"])
async def listener(
    request: pytest.FixtureRequest, start: Start, trust: ssl.SSLContext
) -> tuple[Kubelet, int, ssl.SSLContext | None]:
    """The API, and the port and TLS of one of its listeners."""
    kubelet = await start(authentication=False, authorization=False, metrics_addr=f"127.0.0.1:{free_port()}")
    if request.param == "metrics":
        assert kubelet.server.metrics_port is not None
        return kubelet, kubelet.server.metrics_port, None
    return kubelet, kubelet.server.port, trust


@pytest.mark.parametrize("sent", HALF_REQUESTS.values(), ids=HALF_REQUESTS)
async def test_a_half_request_is_closed(listener: tuple[Kubelet, int, ssl.SSLContext | None], sent: bytes) -> None:
    kubelet, port, tls = listener
    half = [await connect(port, tls) for _ in range(24)]
    for _, writer in half:
        writer.write(sent)
    assert (await kubelet.get("/healthz")).status == 200
    for reader, writer in half:
        await until_closed(reader)
        writer.close()


async def test_half_a_body_is_closed(listener: tuple[Kubelet, int, ssl.SSLContext | None]) -> None:
    kubelet, port, tls = listener
    reader, writer = await connect(port, tls)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100\r\n\r\nx")
    assert (await until_closed(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    assert (await kubelet.get("/healthz")).status == 200


async def test_half_handshakes_hold_up_nobody(start: Start) -> None:
    kubelet = await start(authentication=False, authorization=False)
    half = [socket.create_connection(("127.0.0.1", kubelet.server.port)) for _ in range(100)]
    for connection in half:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert (await kubelet.get("/healthz")).status == 200
    for connection in half:
        connection.close()


async def test_an_idle_connection_keeps_no_response(
    start: Start, node: Node, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 30)
    kubelet = await start(authentication=False, authorization=False)
    size = len((await kubelet.get("/pods")).body)
    node.by_name["shop", "web"]["metadata"]["annotations"] = {"large": "x" * (2 << 20)}
    connections = [await connect(kubelet.server.port, trust) for _ in range(4)]
    tracemalloc.start()
    try:
        for reader, writer in connections:
            writer.write(b"GET /pods HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            left = (2 << 20) + size + len(', "annotations": {"large": ""}')
            assert f"Content-Length: {left}\r\n".encode() in head
            while left:
                left -= len(await reader.read(left))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 << 20
    for _, writer in connections:
        writer.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_an_unread_response_is_closed(start: Start, node: Node, trust: ssl.SSLContext) -> None:
    for number in range(200):
        node.put(f"{number:03}-{'x' * 100_000}")
    kubelet = await start(authentication=False, authorization=False)
    _, writer = await connect(kubelet.server.port, trust)
    writer.write(b"GET /pods HTTP/1.1\r\nHost: a\r\n\r\n")
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    connection: socket.socket = transport.get_extra_info("socket")
    # The kernel ends the connection without a packet to the client, which learns it by a probe.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    closed = asyncio.get_running_loop().run_in_executor(None, _closed_by_the_peer, connection.fileno())
    assert await closed
    assert (await kubelet.get("/healthz")).status == 200
    transport.abort()


def _closed_by_the_peer(descriptor: int) -> bool:
    """Wait until the peer has closed a connection, without reading from it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(30_000))


async def test_a_client_that_has_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    is_handled = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        is_handled.set()
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    app = web.Application(middlewares=[module.drop_disconnected])
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    reader, writer = await connect(port, None)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await until_closed(reader) == b""
    await is_handled.wait()
    writer.close()
    await runner.cleanup()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
