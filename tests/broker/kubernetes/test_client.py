"""The client with an API server: verbs, errors, pages and failures."""

import asyncio
import json
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from broker.kubernetes import client as client_module
from broker.kubernetes import errors
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from tests.broker.apiserver import ApiServer
from tests.pods import a_pod

PODS = "/api/v1/namespaces/default/pods"
POD = f"{PODS}/web-0"


def bound(name: str = "web-0") -> dict[str, object]:
    return a_pod(name, nodeName="node")


async def test_create_get_patch_replace_and_delete(api: ApiServer, client: Client) -> None:
    created = await client.create(PODS, bound())
    assert created["status"]["phase"] == "Pending"
    assert await client.get(POD) == created

    patched = await client.patch(f"{POD}/status", {"status": {"phase": "Running"}})
    assert patched["status"] == {**created["status"], "phase": "Running"}

    replaced = await client.replace(POD, {**patched, "metadata": {**patched["metadata"], "labels": {"a": "b"}}})
    assert replaced["metadata"]["labels"] == {"a": "b"}

    await client.delete(POD, {"gracePeriodSeconds": 0})
    assert api.store.list("pods") == []


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ((401, "Unauthorized"), errors.Unauthorized),
        ((403, "Forbidden"), errors.Forbidden),
        ((404, "NotFound"), errors.NotFound),
        ((409, "Conflict"), errors.Conflict),
        ((409, "AlreadyExists"), errors.AlreadyExists),
        ((410, "Expired"), errors.Gone),
        ((422, "Invalid"), errors.Invalid),
        ((429, "TooManyRequests"), errors.TooManyRequests),
        ((500, "InternalError"), errors.ApiError),
    ],
)
async def test_each_error_status_has_its_exception(
    api: ApiServer, client: Client, response: tuple[int, str], kind: type[errors.ApiError]
) -> None:
    code, reason = response
    with api.failing(code, reason=reason), pytest.raises(errors.ApiError) as caught:
        await client.get(POD)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason, caught.value.message) == (code, reason, "injected")


async def test_an_error_contains_retry_after(api: ApiServer, client: Client) -> None:
    with api.failing(429, retry_after=7), pytest.raises(errors.TooManyRequests) as caught:
        await client.get(POD)
    assert caught.value.retry_after == 7


def test_a_response_without_status_is_abbreviated() -> None:
    error = errors.error_from(503, b"<html>\n<h1>Bad\n  gateway</h1>" + b"x" * 5000)
    assert error.status == 503
    assert error.message.startswith("<html> <h1>Bad gateway</h1>")
    assert len(error.message) <= 200


async def test_a_list_is_read_in_pages(api: ApiServer, client: Client) -> None:
    for number in range(1203):
        api.store.create("pods", bound(f"web-{number}"))
    version = api.store.version
    items, listed = await client.list(PODS)
    assert len({item.metadata.name for item in items}) == 1203
    assert int(listed) == version
    assert [request.query["limit"] for request in api.requests_to("GET")] == ["500"] * 3


async def test_the_client_reconnects_after_a_restart(api: ApiServer, client: Client) -> None:
    api.store.create("pods", bound())
    await client.get(POD)
    await api.stop()
    with pytest.raises(errors.Unreachable):
        await client.get(POD)
    await api.start()
    assert (await client.get(POD))["metadata"]["name"] == "web-0"


async def test_a_hanging_request_times_out(api: ApiServer, cluster: ClusterConfig) -> None:
    client = Client(cluster, timeout=0.2)
    try:
        with api.hanging(), pytest.raises(errors.Unreachable, match="in time"):
            await client.get(POD)
    finally:
        await client.close()


async def test_a_server_with_another_authority_is_not_trusted(api: ApiServer) -> None:
    client = Client(ClusterConfig(api.url, ssl_context=ssl.create_default_context(), token="broker-token"))
    try:
        with pytest.raises(errors.Unreachable, match="certificate"):
            await client.get(POD)
    finally:
        await client.close()
    assert api.requests == []


async def test_a_rotated_token_is_used_at_once(api: ApiServer, cluster: ClusterConfig, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    client = Client(ClusterConfig(api.url, ssl_context=cluster.ssl_context, token_file=token))
    try:
        api.tokens = {"first": "broker"}
        assert (await client.list(PODS))[0] == []
        api.tokens = {"second": "broker"}
        with pytest.raises(errors.Unauthorized):
            await client.list(PODS)
        token.write_text("second\n")
        assert (await client.list(PODS))[0] == []
    finally:
        await client.close()


async def test_a_redirect_is_not_followed_with_the_token(cluster: ClusterConfig) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Client(ClusterConfig(f"http://127.0.0.1:{port}", token="secret"))
        try:
            with pytest.raises(errors.ApiError) as caught:
                await client.get(POD)
        finally:
            await client.close()
    assert caught.value.status == 302


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", json.dumps("text").encode()])
async def test_a_response_that_is_no_object_is_unreachable(body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        client = Client(ClusterConfig(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        try:
            with pytest.raises(errors.Unreachable):
                await client.get(POD)
        finally:
            await client.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_a_server_that_is_lost_during_a_watch_is_found(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[socket.socket] = []
    create = client_module._socket

    def recorded(address: aiohttp.AddrInfoType) -> socket.socket:
        opened.append(create(address))
        return opened[-1]

    monkeypatch.setattr(client_module, "_socket", recorded)
    async with client.stream(PODS, idle_timeout=60, watch="1", resourceVersion="1"):
        (connection,) = opened
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, count = (connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    assert idle + interval * count <= 60
