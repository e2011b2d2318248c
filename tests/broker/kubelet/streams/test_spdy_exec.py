"""exec over SPDY, between a client and a provider that the tests script."""

import asyncio
import json
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import WSMsgType

from broker.streaming import spdy_client
from tests.broker.kubelet.conftest import Kubelet, Node
from tests.broker.kubelet.streams.spdy_peer import PROTOCOLS, Refused, SpdyPeer, connect
from tests.broker.spdy.peers import control_frame
from tests.broker.waiting import eventually
from tests.stub_provider.streams import SUCCESS, Socket, StreamProvider, exit_status, until_closed

CAT = [("command", "cat"), ("input", "1"), ("output", "1")]

Open = Callable[..., AbstractAsyncContextManager[SpdyPeer]]


@pytest.fixture
def exec_(kubelet: Kubelet, trust: ssl.SSLContext) -> Open:
    """Function that opens a session; by default `cat` with standard input and output."""

    def open_(query: list[tuple[str, str]] = CAT, **options: Any) -> AbstractAsyncContextManager[SpdyPeer]:
        return connect(f"{kubelet.url}/exec/shop/web/app", query, trust=trust, **options)

    return open_


def ending_with(status: bytes) -> Callable[[Socket], Awaitable[None]]:
    """Return a script that ends the session with a status at once."""

    async def script(socket: Socket) -> None:
        await socket.send_bytes(b"\x03" + status)

    return script


async def test_headers_can_end_the_input(exec_: Open) -> None:
    async with exec_() as peer:
        error, stdin, _ = await peer.open_all("error", "stdin", "stdout")
        body = struct.pack(">I", stdin.stream_id) + peer.codec._writer.write({})
        await peer.write(control_frame(8, body, flags=1))
        assert await error.rest() == SUCCESS


async def test_spdy_exec_carries_bytes_and_status(exec_: Open, stub: StreamProvider) -> None:
    async with exec_([("command", "cat"), ("input", "1"), ("output", "1"), ("error", "1")]) as peer:
        error, stdin, stdout, stderr = await peer.open_all("error", "stdin", "stdout", "stderr")
        await stdin.send(b"typed")
        assert await stdout.read(5) == b"typed"
        await stdin.send(b"", fin=True)
        assert [await stream.rest() for stream in (error, stdout, stderr)] == [SUCCESS, b"", b""]
        assert not peer.is_closed  # that is the client's part
        assert stub.requests[0][1][-1] == ("command", "cat")
    for line in ("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"):
        assert line in peer.head.split("\r\n")


async def test_the_exit_code_is_in_the_status(exec_: Open, stub: StreamProvider) -> None:
    stub.script = ending_with(exit_status(137))
    async with exec_() as peer:
        error, *_ = await peer.open_all("error", "stdin", "stdout")
        assert json.loads(await error.rest())["details"]["causes"] == [{"reason": "ExitCode", "message": "137"}]


@pytest.mark.parametrize("protocols", [("v3.channel.k8s.io",), ("v2.channel.k8s.io",), ("channel.k8s.io",), ()])
async def test_older_versions_have_the_message_only(
    exec_: Open, stub: StreamProvider, protocols: tuple[str, ...]
) -> None:
    for status, text in (
        (exit_status(3), b"command terminated with non-zero exit code: exit status 3"),
        (SUCCESS, b""),
    ):
        stub.script = ending_with(status)
        async with exec_(protocols=protocols) as peer:
            error, *_ = await peer.open_all("error", "stdin", "stdout")
            assert await error.rest() == text
        assert [f"X-Stream-Protocol-Version: {name}" for name in protocols] == [
            line for line in peer.head.split("\r\n") if line.startswith("X-Stream")
        ]


async def test_unknown_versions_are_refused(exec_: Open) -> None:
    with pytest.raises(Refused) as refused:
        await exec_(protocols=("v9.channel.k8s.io",)).__aenter__()
    assert refused.value.status == 403
    accepted = [line for line in refused.value.head.split("\r\n") if line.startswith("X-Accepted")]
    assert accepted == [f"X-Accepted-Stream-Protocol-Versions: {name}" for name in PROTOCOLS[1:]]
    assert json.loads(refused.value.body)["message"].startswith("unable to upgrade: unable to negotiate protocol")


async def test_other_upgrades_are_refused(exec_: Open) -> None:
    with pytest.raises(Refused) as refused:
        await exec_(upgrade="h2c").__aenter__()
    assert refused.value.status == 400
    assert json.loads(refused.value.body)["kind"] == "Status"


async def test_a_refusal_precedes_the_upgrade(exec_: Open, stub: StreamProvider) -> None:
    stub.refusal = 404, "no such command"
    with pytest.raises(Refused) as refused:
        await exec_().__aenter__()
    assert (refused.value.status, json.loads(refused.value.body)["message"]) == (404, "no such command")


async def test_streams_are_accepted_once(exec_: Open) -> None:
    async with exec_() as peer:
        await peer.open_all("error", "stdin")
        for kind in ("stdin", "stderr", "data", "resize"):
            assert (await (await peer.open(streamtype=kind)).replied()).is_reset


async def test_a_client_without_streams_is_disconnected(
    exec_: Open, stub: StreamProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spdy_client, "OPEN_TIMEOUT", 1)  # longer than it takes to open two
    async with exec_() as peer:
        await peer.open_all("error", "stdin")
        await peer.closed()
    await eventually(lambda: stub.open == 0)


async def test_sizes_of_the_terminal_are_messages(exec_: Open, stub: StreamProvider) -> None:
    received: list[bytes] = []

    async def script(socket: Socket) -> None:
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            received.append(message.data)

    stub.script = script
    async with exec_([("command", "sh"), ("input", "1"), ("output", "1"), ("tty", "1")]) as peer:
        *_, resize = await peer.open_all("error", "stdin", "stdout", "resize")
        await resize.send(b'{"Width":80,"Hei')
        await resize.send(b'ght":24}\n')
        await eventually(lambda: received == [b'\x04{"Width":80,"Height":24}'])
        await resize.send(b'{"Width":81,"Height":24}\n{"Width":82,"Height":24}\n{')
        await eventually(lambda: received[1:] == [b'\x04{"Width":82,"Height":24}'])


async def test_unread_input_does_not_hide_the_end(exec_: Open, stub: StreamProvider) -> None:
    ended = asyncio.Event()

    async def script(socket: Socket) -> None:
        await ended.wait()
        await socket.send_bytes(b"\x03" + SUCCESS)

    stub.script = script
    async with exec_() as peer:
        error, stdin, _ = await peer.open_all("error", "stdin", "stdout")
        sending = asyncio.create_task(stdin.send(bytes(64 << 20)))
        assert not (await asyncio.wait([sending], timeout=0.3))[0]  # TCP holds the client back
        ended.set()
        assert await error.rest() == SUCCESS
        await sending  # what the client still sends is discarded
        assert not peer.is_closed


async def test_a_slow_client_slows_the_provider(exec_: Open, stub: StreamProvider) -> None:
    blocked, sent, total = asyncio.Event(), 0, 48 << 20

    async def script(socket: Socket) -> None:
        nonlocal sent
        while sent < total:
            sending = asyncio.create_task(socket.send_bytes(b"\x01" + bytes(1 << 20)))
            if not (await asyncio.wait([sending], timeout=0.3))[0]:
                blocked.set()
            await sending
            sent += 1 << 20
        await socket.send_bytes(b"\x03" + SUCCESS)

    stub.script = script
    async with exec_([("command", "yes"), ("output", "1")]) as peer:
        error, stdout = await peer.open_all("error", "stdout")
        peer.reading.clear()
        await blocked.wait()
        assert sent < total
        peer.reading.set()
        assert len(await stdout.rest()) == total
        assert await error.rest() == SUCCESS


async def test_a_client_that_stays_is_disconnected(exec_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdy_client, "CLOSE_TIMEOUT", 0.05)
    async with exec_() as peer:
        error, stdin, _ = await peer.open_all("error", "stdin", "stdout")
        await stdin.send(b"", fin=True)
        await peer.closed()
        assert peer.went_away
        assert error.received == SUCCESS


async def test_a_spdy_client_that_goes_ends_the_session(exec_: Open, stub: StreamProvider) -> None:
    async with exec_() as peer:
        await peer.open_all("error", "stdin", "stdout")
        await eventually(lambda: stub.open == 1)
    await eventually(lambda: stub.open == 0)


async def test_a_stop_sends_a_failure_over_spdy(exec_: Open, kubelet: Kubelet, stub: StreamProvider) -> None:
    stub.script = until_closed
    async with exec_() as peer:
        error, *_ = await peer.open_all("error", "stdin", "stdout")
        stopping = asyncio.create_task(kubelet.server.close())
        assert json.loads(await error.rest())["message"] == "the node is shutting down"
        peer.close()
        await stopping


async def test_pings_are_answered_during_a_session(exec_: Open) -> None:
    async with exec_() as peer:
        await peer.open_all("error", "stdin", "stdout")
        before = peer.bytes_received
        await peer.write(peer.codec.ping(1))
        await peer.until(lambda: peer.bytes_received == before + len(peer.codec.ping(1)))


async def test_a_protocol_error_ends_the_session(exec_: Open, stub: StreamProvider) -> None:
    async with exec_() as peer:
        await peer.open_all("error", "stdin", "stdout")
        await peer.write(struct.pack(">HHI", 0x8003, 99, 0))
        await peer.closed()
    await eventually(lambda: stub.open == 0)


async def test_the_outcome_of_spdy_sessions_is_counted(exec_: Open, node: Node) -> None:
    async with exec_() as peer:
        error, stdin, _ = await peer.open_all("error", "stdin", "stdout")
        await stdin.send(b"", fin=True)
        await error.rest()
    await eventually(
        lambda: (
            node.registry.get_sample_value(
                "virtual_kubelet_web_stream_sessions_total", {"kind": "exec", "outcome": "success"}
            )
            == 1
        )
    )
