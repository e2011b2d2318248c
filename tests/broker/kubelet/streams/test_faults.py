"""Sessions whose client, provider or node goes away, is slow, or sends something else than the protocol."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from broker.__main__ import allow_open_files
from broker.kubelet import server
from broker.streaming import sessions
from tests.broker.kubelet.conftest import Kubelet, Node, Start
from tests.broker.kubelet.streams.websocket_client import Client, Ws, everything
from tests.broker.waiting import eventually
from tests.stub_provider.streams import Socket, StreamProvider, exit_status


@pytest.fixture(autouse=True)
def _sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SWEEP_INTERVAL", 0.02)


async def open_session(streams: Client) -> Ws:
    """Open a session, and wait until the provider has it."""
    ws = await streams.connect()
    assert await ws.receive_bytes() == b"\x01"
    return ws


def failure(message: bytes) -> str:
    """Return the message of a final status that is a Failure."""
    status = json.loads(message[1:])
    assert (message[0], status["status"]) == (3, "Failure")
    return str(status["message"])


def abort(ws: Ws) -> None:
    """End a client's connection without a close frame."""
    connection: socket.socket = ws.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    ws._response.close()


async def test_a_client_that_disconnects_ends_the_command(streams: Client, stub: StreamProvider) -> None:
    abort(await open_session(streams))
    await (await open_session(streams)).close()
    await eventually(lambda: stub.open == 0)
    assert len(stub.requests) == 2


async def stall(socket: Socket) -> None:
    """Read nothing, until the connection is lost."""
    await asyncio.Event().wait()


async def test_a_client_that_resets_unread_is_noticed(node: Node, streams: Client, stub: StreamProvider) -> None:
    """The broker has stopped reading the client, since the provider takes nothing."""
    stub.script = stall
    ws = await open_session(streams)
    sending = asyncio.create_task(flood(ws))
    await asyncio.wait([sending], timeout=0.5)
    assert not sending.done()
    abort(ws)
    await asyncio.wait([sending])
    open_sessions = "virtual_kubelet_web_stream_sessions_open"
    await eventually(lambda: node.registry.get_sample_value(open_sessions, {"kind": "exec"}) == 0)


async def flood(ws: Ws) -> None:
    """Send on standard input until the connection has ended."""
    try:
        while True:
            await ws.send_bytes(b"\x00" + bytes(1 << 20))
    except (ConnectionError, aiohttp.ClientError):
        pass


async def test_a_provider_that_dies_is_a_failure(streams: Client, stub: StreamProvider) -> None:
    async def die(ws: Socket) -> None:
        await ws.send_bytes(b"\x01half a li")
        ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    stub.script = die
    output, final = (await everything(await streams.connect()))[1:]
    assert output == b"\x01half a li"
    assert failure(final) == "the provider has ended the connection without a status"


async def test_an_end_without_status_is_a_failure(streams: Client, stub: StreamProvider) -> None:
    async def leave(socket: Socket) -> None:
        await socket.close()

    stub.script = leave
    assert failure((await everything(await streams.connect()))[-1]).endswith("without a status")


async def test_an_invalid_status_is_a_failure(streams: Client, stub: StreamProvider) -> None:
    async def mumble(socket: Socket) -> None:
        await socket.send_bytes(b"\x03done")

    stub.script = mumble
    final = (await everything(await streams.connect()))[-1]
    assert failure(final) == "the provider has ended the session with an invalid status"


async def test_a_failure_without_text_gets_one(streams: Client, stub: StreamProvider) -> None:
    """Clients print the message, and nothing else."""

    async def fail(socket: Socket) -> None:
        await socket.send_bytes(b'\x03{"status":"Failure","reason":"InternalError"}')

    stub.script = fail
    assert failure((await everything(await streams.connect()))[-1]) == "the session has failed"


@asynccontextmanager
async def raw_session(
    kubelet: Kubelet, trust: ssl.SSLContext
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """Open a session, and give access to the bytes of its connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kubelet.server.port, ssl=trust)
    writer.write(
        b"GET /exec/shop/web/app?command=cat&input=1&output=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert await reader.readexactly(3) == b"\x82\x01\x01"
    yield reader, writer
    writer.close()


async def test_a_frame_cut_in_two_is_whole(kubelet: Kubelet, trust: ssl.SSLContext) -> None:
    async with raw_session(kubelet, trust) as (reader, writer):
        # A message of two frames, with a ping between them; the last frame arrives byte by byte.
        writer.write(b"\x02\x83\0\0\0\0\x00he" + b"\x89\x80\0\0\0\0")
        assert await reader.readexactly(2) == b"\x8a\x00"
        for byte in b"\x80\x83\0\0\0\0llo":
            writer.write(bytes((byte,)))
            await writer.drain()
        assert await reader.readexactly(8) == b"\x82\x06\x01hello"


async def test_an_invalid_frame_ends_the_session(
    kubelet: Kubelet, trust: ssl.SSLContext, stub: StreamProvider
) -> None:
    async with raw_session(kubelet, trust) as (reader, writer):
        writer.write(b"\xff\xff")
        assert (await reader.read())[:4] == b"\x88\x02" + (1002).to_bytes(2, "big")
        await eventually(lambda: stub.open == 0)


async def test_a_slow_reader_slows_the_writer(
    start: Start, stub: StreamProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take nothing for longer than the client of another request."""
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.1)
    streams = Client(await start(authentication=False, authorization=False))
    sent = 0

    async def produce(socket: Socket) -> None:
        nonlocal sent
        for _ in range(1024):
            await socket.send_bytes(b"\x01" + bytes(64 << 10))
            sent += 64 << 10
        await socket.send_bytes(b"\x03" + exit_status(0))

    stub.script = produce
    ws = await streams.connect()
    before, stalled = -1, 0
    while stalled < 60:  # until no more is taken
        stalled = stalled + 1 if sent == before else 0
        before = sent
        await asyncio.sleep(0.01)
    held = sent
    messages = await everything(ws)
    assert held < 32 << 20
    assert sum(len(message) - 1 for message in messages[:-1]) == 64 << 20
    assert json.loads(messages[-1][1:])["status"] == "Success"


async def test_an_idle_session_ends(start: Start, stub: StreamProvider) -> None:
    streams = Client(await start(authentication=False, authorization=False, stream_idle_timeout=0.2))
    messages = await everything(await open_session(streams))
    assert failure(messages[-1]) == "the session was idle for too long"
    await eventually(lambda: stub.open == 0)


async def test_more_sessions_than_the_limit_are_refused(start: Start, stub: StreamProvider) -> None:
    streams = Client(await start(authentication=False, authorization=False, stream_sessions=1))
    ws = await open_session(streams)
    assert (await streams.refusal())[0] == 429
    await ws.close()
    await eventually(lambda: stub.open == 0)
    await (await open_session(streams)).close()


async def test_a_stop_sends_a_failure_first(
    kubelet: Kubelet, streams: Client, stub: StreamProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STOP_TIMEOUT", 0.2)
    ws, silent = await open_session(streams), await open_session(streams)
    closing = asyncio.create_task(kubelet.server.close())
    assert failure((await everything(ws))[-1]) == "the node is shutting down"
    await closing
    assert stub.open == 0
    abort(silent)


async def test_a_thousand_idle_sessions_are_freed(start: Start, stub: StreamProvider) -> None:
    allow_open_files(2 * 1000)  # both ends of each connection are in this process
    streams = Client(await start(authentication=False, authorization=False, stream_sessions=1000))
    clients = [await open_session(streams) for _ in range(1000)]
    assert stub.open == 1000
    assert (await streams.refusal())[0] == 429
    for ws in clients:
        abort(ws)
    await eventually(lambda: stub.open == 0)
