"""exec and attach over WebSocket, between a client and a provider that the tests script."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from yarl import URL

from tests.broker.kubelet.conftest import Kubelet, Node
from tests.broker.kubelet.streams.websocket_client import CAT, EXEC, V4, V5, Client, Ws, everything
from tests.broker.waiting import eventually
from tests.stub_provider.streams import Script, Socket, StreamProvider, exit_status


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


async def test_a_command_may_be_long(streams: Client, stub: StreamProvider) -> None:
    """A script of `sh -c` is a word of the command."""
    ws = await streams.connect(command="x" * 200_000, output="1")
    await ws.close()
    assert stub.requests[0][1][-1] == ("command", "x" * 200_000)


async def test_a_command_that_is_not_utf8_is_refused(kubelet: Kubelet, stub: StreamProvider) -> None:
    url = URL(f"{kubelet.url}{EXEC}?command=printf&command=%FF&output=1", encoded=True)
    async with kubelet.session.get(url, headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as response:
        assert (response.status, (await response.json())["message"]) == (400, "the command is not UTF-8")
    assert stub.requests == []


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
    stub.refusal = 499, "the client of a proxy has gone"
    assert await streams.refusal() == (499, "the client of a proxy has gone")
    stub.refusal = 401, "no token"
    assert await streams.refusal() == (502, "no token")


async def test_ports_share_one_websocket(streams: Client, stub: StreamProvider) -> None:
    ws = await streams.connect("/portForward/shop/web", protocols=(V4,), ports="80,443")
    assert [await ws.receive_bytes() for _ in range(4)] == [
        b"\x00P\x00",
        b"\x01P\x00",
        b"\x02\xbb\x01",
        b"\x03\xbb\x01",
    ]
    await ws.send_bytes(b"\x02hello")
    assert await ws.receive_bytes() == b"\x02hello"
    await ws.send_bytes(b"\x00hi")
    assert await ws.receive_bytes() == b"\x00hi"
    await ws.close()
    await eventually(lambda: stub.open == 0)
    asked = sorted(dict(query)["port"] for _, query, _ in stub.requests)
    assert (asked, {path for path, _, _ in stub.requests}) == (["443", "80"], {"/portForward"})


BASE64 = "v4.base64.channel.k8s.io"


async def test_base64_messages_reach_their_port_alone(streams: Client, stub: StreamProvider) -> None:
    ws = await streams.connect("/portForward/shop/web", ports="80", protocols=(BASE64,))
    for message in (b"." + b64encode(b"channel -2"), b"0" + b64encode(b"x")):
        await ws.send_str(message.decode())
    opened = [await ws.receive_str() for _ in range(2)]
    assert [opened[0][0], opened[1][0], await ws.receive_str()] == ["0", "1", "0" + b64encode(b"x").decode()]


async def test_more_ports_than_base64_can_name(streams: Client, stub: StreamProvider) -> None:
    ports = ",".join(map(str, range(8000, 8041)))
    ws = await streams.connect("/portForward/shop/web", ports=ports, protocols=(BASE64, V4))
    assert ws.protocol == V4
    channels = [(await ws.receive_bytes())[0] for _ in range(82)]
    assert channels == list(range(82))


async def test_a_refused_port_leaves_the_others(streams: Client, stub: StreamProvider) -> None:
    stub.refusal = 404, "nothing listens"
    ws = await streams.connect("/portForward/shop/web", protocols=(V4,), ports="80")
    assert await everything(ws) == [b"\x00P\x00", b"\x01P\x00", b"\x01nothing listens"]


@pytest.mark.parametrize("ports", ["", "web", "0", "65536", "80,", "9" * 5000, ",".join(["80"] * 129)])
async def test_invalid_ports_are_refused(streams: Client, ports: str) -> None:
    assert (await streams.refusal("/portForward/shop/web", ports=ports))[0] == 400


@pytest.mark.parametrize("protocol", [V5, V4, "v4.base64.channel.k8s.io", "channel.k8s.io", "unknown"])
async def test_every_protocol_version_is_served(streams: Client, stub: StreamProvider, protocol: str) -> None:
    stub.script = one_line_then_exit(3)
    ws = await streams.connect(command="cat", input="1", output="1", protocols=(protocol,))
    assert ws.protocol == (protocol if protocol != "unknown" else None)
    opened, output, final = await exchange(ws, b"typed", base64="base64" in protocol)
    assert (opened, output) == ((1, b""), (1, b"typed"))
    assert final[0] == 3
    if protocol in ("channel.k8s.io", "unknown"):
        assert final[1] == b"command terminated with non-zero exit code: exit status 3"
    else:
        assert json.loads(final[1])["reason"] == "NonZeroExitCode"


async def exchange(ws: Ws, line: bytes, *, base64: bool) -> list[tuple[int, bytes]]:
    """Send a line on standard input; return channel and content of each message."""
    if not base64:
        await ws.send_bytes(b"\x00" + line)
        return [(data[0], data[1:]) for data in await everything(ws)]
    await ws.send_str("0" + b64encode(line).decode())
    return [(int(text[0]), b64decode(text[1:])) for text in await everything(ws)]


async def test_half_close_reaches_the_provider(streams: Client, stub: StreamProvider) -> None:
    seen: list[bytes] = []

    async def script(socket: Socket) -> None:
        async for message in socket:
            seen.append(message.data)
            if message.data == b"\xff\x00":
                await socket.send_bytes(b"\x01sum" + b"\xff\x01")
                await socket.send_bytes(b"\x03" + exit_status(0))

    stub.script = script
    ws = await streams.connect()
    for message in (b"\x00a", b"\x04" + b'{"Width":80,"Height":24}', b"\x00", b"", b"\x02x", b"\xff", b"\xff\x00"):
        await ws.send_bytes(message)
    assert (await everything(ws))[1] == b"\x01sum\xff\x01"
    assert seen == [b"\x00a", b'\x04{"Width":80,"Height":24}', b"\xff\x00"]


async def test_large_messages_are_cut(streams: Client, stub: StreamProvider) -> None:
    ws = await streams.connect()
    sent = bytes(range(256)) * 4 * 1024 * 16  # 16 MiB
    await ws.send_bytes(b"\x00" + sent)
    await ws.send_bytes(b"\xff\x00")
    messages = await everything(ws)
    assert max(map(len, messages[:-1])) == 64 * 1024 + 1
    assert b"".join(message[1:] for message in messages[:-1]) == sent


async def test_attach_has_the_terminal_of_the_container(streams: Client, stub: StreamProvider, node: Node) -> None:
    node.by_name["shop", "web"]["spec"]["ephemeralContainers"] = [{"name": "debug", "tty": True}]
    for container in ("debug", "app"):
        ws = await streams.connect(f"/attach/shop/web/uid-of-web/{container}", output="1", error="1")
        await ws.close()
    (_, with_terminal, _), (_, without, _) = stub.requests
    assert with_terminal[2:] == [("containerName", "debug"), ("stdout", "true"), ("tty", "true")]
    assert without[2:] == [("containerName", "app"), ("stdout", "true"), ("stderr", "true")]


async def test_post_upgrades_too(kubelet: Kubelet, stub: StreamProvider) -> None:
    ws = await kubelet.session.ws_connect(kubelet.url + EXEC, params=CAT, method="POST")
    assert await ws.receive_bytes() == b"\x01"
    await ws.close()
    url = kubelet.url + "/portForward/shop/web"
    ws = await kubelet.session.ws_connect(url, params={"ports": "80"}, method="POST", protocols=(V4,))
    assert await ws.receive_bytes() == b"\x00P\x00"
    await ws.close()


async def test_metrics_count_sessions_and_bytes(kubelet: Kubelet, streams: Client, stub: StreamProvider) -> None:
    stub.script = one_line_then_exit(0)
    ws = await streams.connect(command="cat", input="1", output="1")
    assert 'stream_sessions_open{kind="exec"} 1.0' in (await kubelet.get("/metrics")).body.decode()
    await ws.send_bytes(b"\x00typed")
    await everything(ws)
    await ws.close()
    metrics = (await kubelet.get("/metrics")).body.decode()
    assert 'stream_sessions_open{kind="exec"} 0.0' in metrics
    assert 'stream_sessions_total{kind="exec",outcome="success"} 1.0' in metrics
    assert 'stream_bytes_total{direction="in",kind="exec"} 5.0' in metrics
    assert 'stream_bytes_total{direction="out",kind="exec"} 5.0' in metrics


async def test_the_log_has_no_bytes(streams: Client, stub: StreamProvider, capsys: Any) -> None:
    stub.script = one_line_then_exit(3)
    ws = await streams.connect(command="my-secret-command", input="1", output="1")
    await ws.send_bytes(b"\x00typed-secret")
    await everything(ws)
    await ws.close()
    logged = ""

    def has_ended() -> bool:
        nonlocal logged
        logged += capsys.readouterr().out
        return "session ended" in logged

    await eventually(has_ended)
    assert "exit_code=3" in logged
    assert "secret" not in logged


def one_line_then_exit(code: int) -> Script:
    """Return a script that echoes one message, then exits."""

    async def script(socket: Socket) -> None:
        message = await socket.receive_bytes()
        await socket.send_bytes(b"\x01" + message[1:])
        await socket.send_bytes(b"\x03" + exit_status(code))

    return script
