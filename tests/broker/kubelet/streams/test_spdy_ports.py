"""port-forward over SPDY, between a client and a provider that the tests script."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from broker.spdy import Connection, DataReceived, Role, StreamReplied
from broker.streaming import spdy_ports
from broker.streaming.peer import ClientPeer
from tests.broker.kubelet.conftest import Kubelet, Start
from tests.broker.kubelet.streams.spdy_peer import Refused, SpdyPeer, Stream, connect
from tests.broker.waiting import eventually
from tests.stub_provider.streams import Socket, StreamProvider, until_closed

Open = Callable[..., AbstractAsyncContextManager[SpdyPeer]]
FORWARD = "/portForward/shop/web"
PORTFORWARD = "portforward.k8s.io"


@pytest.fixture
async def peer(kubelet: Kubelet, trust: ssl.SSLContext) -> AsyncIterator[SpdyPeer]:
    """A client of a port-forward."""
    async with connect(kubelet.url + FORWARD, trust=trust, protocols=[PORTFORWARD]) as peer:
        yield peer


class QuietWire:
    """A connection whose client takes all bytes, and sends those in the queue."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self.received.get()

    async def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


async def pair(peer: SpdyPeer, number: int, port: int = 80) -> tuple[Stream, Stream]:
    """Open a connection to a port: its error stream, which kubectl closes at once, and its data stream."""
    error = await peer.open(streamtype="error", requestid=str(number), port=str(port), fin=True)
    data = await peer.open(streamtype="data", requestid=str(number), port=str(port))
    return await error.replied(), await data.replied()


async def test_connections_are_forwarded_at_once(peer: SpdyPeer, stub: StreamProvider) -> None:
    pairs = [await pair(peer, number, 8000 + number) for number in range(10)]
    for number, (_, data) in enumerate(pairs):
        await data.send(f"hello {number}".encode())
    for number, (error, data) in enumerate(pairs):
        assert await data.read(7) == f"hello {number}".encode()
        await data.send(b"", fin=True)
        assert await data.rest() == await error.rest() == b""
    where = [("namespace", "shop"), ("podName", "web")]
    assert [query for _, query, _ in stub.requests] == [[*where, ("port", str(8000 + n))] for n in range(10)]
    await eventually(lambda: stub.open == 0)
    assert peer.codec.open_streams == 0
    assert not peer.is_closed


async def test_either_direction_ends_first(peer: SpdyPeer, stub: StreamProvider) -> None:
    async def pod_ends_first(socket: Socket) -> None:
        await socket.send_bytes(b"\x01bye")
        await socket.send_bytes(b"\xff\x01")
        last = await socket.receive_bytes()
        await socket.send_bytes(b'\x03{"status":"Success"}')
        assert last == b"\x00still read"

    stub.script = pod_ends_first
    error, data = await pair(peer, 1)
    assert await data.rest() == b"bye"
    await data.send(b"still read")
    assert await error.rest() == b""


async def test_pairs_without_a_request_id(peer: SpdyPeer) -> None:
    for _ in range(2):
        await peer.open(streamtype="error", port="80", fin=True)
        data = await peer.open(streamtype="data", port="80")
        await data.send(b"x")
        assert await data.read(1) == b"x"


async def test_a_refusal_is_that_of_one_connection(peer: SpdyPeer, stub: StreamProvider) -> None:
    _, first = await pair(peer, 1)
    stub.refusal = 502, "connection refused"
    error, data = await pair(peer, 2, 81)
    assert await error.rest() == b"error forwarding port 81: connection refused"
    assert await data.rest() == b""
    await first.send(b"x")
    assert await first.read(1) == b"x"


@pytest.mark.parametrize(
    "headers",
    [
        {"streamtype": "data"},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "65536"},
        {"streamtype": "data", "port": "9" * 5000},
        {"streamtype": "data", "port": "http"},
        {"streamtype": "stdin", "port": "80"},
    ],
)
async def test_streams_without_a_port_are_refused(peer: SpdyPeer, headers: dict[str, str]) -> None:
    assert (await (await peer.open(headers)).replied()).is_reset


async def test_a_pair_that_is_reset_early_leaves_nothing(peer: SpdyPeer) -> None:
    for _ in range(8):  # together more than what a connection may have unread
        half = await peer.open(streamtype="data", requestid="1", port="80")
        await half.send(bytes(40_000))
        await half.reset()
    _, data = await pair(peer, 1)
    await data.send(b"x")
    assert await data.read(1) == b"x"


async def test_half_a_pair_that_is_reset_leaves_nothing(peer: SpdyPeer) -> None:
    half = await peer.open(streamtype="error", requestid="1", port="80")
    await half.reset()
    _, data = await pair(peer, 1)
    await data.send(b"x")
    assert await data.read(1) == b"x"


@pytest.mark.looptime
async def test_a_connection_in_use_is_kept() -> None:
    async def ends_at_once(_: int, __: ClientPeer) -> None:
        pass

    codec, wire = Connection(Role.CLIENT), QuietWire()
    serving = asyncio.create_task(spdy_ports._Forwards(wire, ends_at_once).serve(10))
    await asyncio.sleep(9)
    for kind in ("error", "data"):
        wire.received.put_nowait(codec.open_stream({"streamtype": kind, "requestid": "1", "port": "80"})[1])
    await asyncio.sleep(2)
    assert not serving.done()
    await asyncio.sleep(10)
    assert serving.done()


@pytest.mark.looptime
async def test_frames_of_a_byte_are_held_back() -> None:
    """They take more memory than their data."""

    async def takes_nothing(_: int, __: ClientPeer) -> None:
        await asyncio.Event().wait()

    codec, wire = Connection(Role.CLIENT), QuietWire()
    serving = asyncio.create_task(spdy_ports._Forwards(wire, takes_nothing).serve(10))
    for kind in ("error", "data"):
        data, syn = codec.open_stream({"streamtype": kind, "requestid": "1", "port": "80"})
        wire.received.put_nowait(syn)
    for _ in range(100):
        wire.received.put_nowait(b"".join(codec.send_data(data, b"x") for _ in range(100)))
    await asyncio.sleep(1)
    assert wire.received.qsize() > 80
    serving.cancel()


async def test_a_second_stream_of_a_kind_is_refused(peer: SpdyPeer) -> None:
    await peer.open(streamtype="error", requestid="1", port="80")
    second = await peer.open(streamtype="error", requestid="1", port="80")
    assert (await second.replied()).is_reset


async def test_half_a_pair_fails(peer: SpdyPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdy_ports, "PAIR_TIMEOUT", 0.05)
    error = await peer.open(streamtype="error", requestid="1", port="80")
    assert await error.rest() == b"timed out waiting for streams"


async def test_a_stalled_connection_gives_way(
    kubelet: Kubelet, trust: ssl.SSLContext, stub: StreamProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spdy_ports, "STALL_TIMEOUT", 0.1)
    stalled = asyncio.Event()

    async def reads_nothing(socket: Socket) -> None:
        await stalled.wait()

    async with connect(kubelet.url + FORWARD, trust=trust, protocols=[PORTFORWARD]) as peer:
        _, other = await pair(peer, 1)
        await eventually(lambda: stub.open == 1)
        stub.script = reads_nothing
        _, data = await pair(peer, 2)
        await data.send(bytes(64 << 20))
        await data.rest()
        assert data.is_reset
        await other.send(b"x")
        assert await other.read(1) == b"x"
    stalled.set()


async def test_a_reset_ends_the_connection_to_the_pod(peer: SpdyPeer, stub: StreamProvider) -> None:
    stub.script = until_closed
    _, data = await pair(peer, 1)
    await eventually(lambda: stub.open == 1)
    await data.reset()
    await eventually(lambda: stub.open == 0)
    assert not peer.is_closed


async def test_a_stop_is_said_on_each_error_stream(peer: SpdyPeer, kubelet: Kubelet, stub: StreamProvider) -> None:
    stub.script = until_closed
    errors = [(await pair(peer, number))[0] for number in range(2)]
    await eventually(lambda: stub.open == 2)
    stopping = asyncio.create_task(kubelet.server.close())
    for error in errors:
        assert await error.rest() == b"error forwarding port 80: the node is shutting down"
    await peer.closed()
    await stopping


async def test_an_unused_connection_is_ended(start: Start, trust: ssl.SSLContext) -> None:
    kubelet = await start(authentication=False, authorization=False, stream_idle_timeout=0.05)
    async with connect(kubelet.url + FORWARD, trust=trust, protocols=[PORTFORWARD]) as peer:
        await peer.closed()


async def test_an_unknown_pod_is_refused(kubelet: Kubelet, trust: ssl.SSLContext) -> None:
    with pytest.raises(Refused) as refused:
        await connect(f"{kubelet.url}/portForward/shop/other", trust=trust, protocols=[PORTFORWARD]).__aenter__()
    assert (refused.value.status, json.loads(refused.value.body)["message"]) == (404, "pod does not exist")


async def test_spdy_travels_in_websocket_messages(kubelet: Kubelet) -> None:
    name = f"SPDY/3.1+{PORTFORWARD}"
    codec = Connection(Role.CLIENT)
    async with kubelet.session.ws_connect(kubelet.url + FORWARD, protocols=[name]) as ws:
        assert ws.protocol == name
        headers = {"requestid": "1", "port": "80"}
        _, first = codec.open_stream({"streamtype": "error", **headers})
        number, second = codec.open_stream({"streamtype": "data", **headers})
        frames = first + second + codec.send_data(number, b"x" * 100, fin=True)
        for start in range(0, len(frames), 7):
            await ws.send_bytes(frames[start : start + 7])
        data, finished, replies = b"", set[int](), 0
        while len(finished) < 2:
            message = await ws.receive(timeout=30)
            assert message.type is aiohttp.WSMsgType.BINARY
            for event in codec.receive(message.data):
                replies += isinstance(event, StreamReplied)
                if isinstance(event, DataReceived):
                    data += event.data
                    finished |= {event.stream_id} if event.fin else set()
        assert (data, replies) == (b"x" * 100, 2)
