"""The client of providers, for every kind of response."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from broker.errors import ProviderError, ProviderRefused, ProviderUnavailable
from broker.provider import ProviderClient
from tests.pods import a_container, a_pod
from tests.stub_provider import StubProvider, Ways, providing


@pytest.fixture
async def provider(stub: StubProvider) -> AsyncIterator[ProviderClient]:
    provider = ProviderClient(stub.url + "/", token="s3cret", timeout=30)
    yield provider
    await provider.close()


WRITES: dict[str, Callable[[ProviderClient, Any], Any]] = {
    "/createPod": ProviderClient.create,
    "/updatePod": ProviderClient.update,
    "/deletePod": ProviderClient.delete,
}


async def test_each_endpoint_is_requested_by_the_contract(stub: StubProvider, provider: ProviderClient) -> None:
    pod = a_pod("a b", namespace="n/s")
    await provider.create(pod)
    await provider.update(pod)
    found = await provider.get("n/s", "a b")
    assert found
    assert found["metadata"] == pod["metadata"]
    assert await provider.status("n/s", "a b")
    assert [listed["metadata"] for listed in await provider.pods()] == [pod["metadata"]]
    assert await provider.delete(pod)
    assert (await provider.capacity())["cpu"] == "20"
    assert (await provider.conditions())[0]["type"] == "Ready"
    assert await provider.addresses() == [{"type": "InternalIP", "address": "127.0.0.1"}]
    async with provider.logs("n/s", "a b", "web", tail="5") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"one\ntwo\n"
    assert [(request.method, request.path) for request in stub.requests] == [
        ("POST", "/createPod"),
        ("PUT", "/updatePod"),
        ("GET", "/getPod"),
        ("GET", "/getPodStatus"),
        ("GET", "/getPods"),
        ("DELETE", "/deletePod"),
        ("GET", "/capacity"),
        ("GET", "/nodeConditions"),
        ("GET", "/nodeAddresses"),
        ("GET", "/getContainerLogs"),
    ]
    assert [request.body for request in stub.requests[:2]] == [pod, pod]
    assert stub.requests[2].query == {"namespace": "n/s", "name": "a b"}
    assert stub.requests[-1].query == {"namespace": "n/s", "podName": "a b", "containerName": "web", "tail": "5"}


@pytest.mark.parametrize("phrase", ["Not Found", "NOT FOUND", "Nope"])
async def test_a_404_is_recognized_by_its_code(phrase: str) -> None:
    async with providing(Ways(not_found=phrase)) as stub:
        provider = ProviderClient(stub.url)
        assert await provider.get("default", "none") is None
        assert await provider.status("default", "none") is None
        assert not await provider.delete(a_pod())
        await provider.close()


@pytest.mark.parametrize("body", [b"", b"null", b" null\n"])
async def test_an_empty_response_is_no_pod(stub: StubProvider, provider: ProviderClient, body: bytes) -> None:
    with stub.failing("/getPod", 200, body=body):
        assert await provider.get("default", "none") is None
        assert await provider.status("default", "none") is None


async def test_an_empty_list_may_be_null(stub: StubProvider, provider: ProviderClient) -> None:
    with stub.failing("/", 200, body=b"null\n"):
        assert await provider.pods() == []
        assert await provider.addresses() == []
        assert await provider.conditions() == []


@pytest.mark.parametrize("body", [b"[]", b"{}", b'"pod"', b"{", b"<html>", b'{"metadata": {}}'])
async def test_an_invalid_pod_is_an_outage(stub: StubProvider, provider: ProviderClient, body: bytes) -> None:
    with stub.failing("/getPod", 200, body=body), pytest.raises(ProviderUnavailable):
        await provider.get("default", "web-0")


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_temporary_error_is_unavailable(
    stub: StubProvider, provider: ProviderClient, path: str, code: int
) -> None:
    with stub.failing(path, code, retry_after=7), pytest.raises(ProviderUnavailable) as error:
        await WRITES[path](provider, a_pod())
    assert error.value.retry_after == 7


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("code", [301, 307, 400, 409, 422])
async def test_other_errors_are_refusals_and_redirects_not_followed(
    stub: StubProvider, provider: ProviderClient, path: str, code: int
) -> None:
    with (
        stub.failing(path, code, body=b"no"),
        pytest.raises(ProviderRefused, match=f"answers {code}: no") as error,
    ):
        await WRITES[path](provider, a_pod())
    assert error.value.code == code
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"code": 400, "message": "spec.containers: is missing"}}', "spec.containers: is missing"),
        (b'{"message": "no"}', "no"),
        (b'{"error": "no"}', "no"),
        (b'{"detail": "no"}', "no"),
        (b"line one\n  line two\n", "line one line two"),
        (b"<!doctype html><title>400</title>", ""),
        (b'{"error": {"code": 7}}', ""),
        (b"[1]", ""),
        (b"", ""),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"x" * 5000, "x" * 1000),
        (b"the value hunter2hunter2 of P", "the value … of P"),
        (b"the key\nof more\nlines of R", "the … of R"),
        (b'{"message": "the key\\nof more\\nlines of R"}', "the … of R"),
    ],
)
async def test_a_refusal_message_is_redacted(
    stub: StubProvider, provider: ProviderClient, body: bytes, message: str
) -> None:
    env = {"P": "hunter2hunter2", "Q": "1", "R": "key\nof more\nlines"}
    pod = a_pod(containers=[a_container(env=[{"name": name, "value": value} for name, value in env.items()])])
    with stub.failing("/createPod", 400, body=body), pytest.raises(ProviderRefused) as error:
        await provider.create(pod)
    assert error.value.message == message


async def test_an_unreachable_provider_is_unavailable(stub: StubProvider, provider: ProviderClient) -> None:
    await stub.stop()
    with pytest.raises(ProviderUnavailable, match="unreachable"):
        await provider.pods()


async def test_a_hanging_provider_is_unavailable(stub: StubProvider) -> None:
    provider = ProviderClient(stub.url, timeout=0.05)
    with stub.hanging("/"):
        with pytest.raises(ProviderUnavailable, match="GET /getPods in time"):
            await provider.pods()
        with pytest.raises(ProviderUnavailable, match="GET /getContainerLogs in time"):
            async with provider.logs("default", "web-0", "web"):
                pass
    await provider.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: A\r\n\r\n",
    ],
)
async def test_an_invalid_upgrade_names_no_command(answer: bytes) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        provider = ProviderClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(ProviderUnavailable, match="answer to GET /exec is invalid") as caught:
            await provider.stream("/exec", [("command", "s3cret")])
        assert "s3cret" not in str(caught.value)
        await provider.close()


async def test_refused_logs_contain_the_reason(stub: StubProvider, provider: ProviderClient) -> None:
    with stub.failing("/getContainerLogs", 400, body=b"waiting"), pytest.raises(ProviderRefused, match="waiting"):
        async with provider.logs("default", "web-0", "web"):
            pass


async def test_a_connection_is_reused_after_any_response() -> None:
    peers = set()

    async def answer(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        assert request.headers["Authorization"] == "Bearer s3cret"
        return web.Response(body=b"OK" * 100_000)

    app = web.Application()
    app.router.add_route("*", "/base/{path}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    provider = ProviderClient(f"http://127.0.0.1:{port}/base/", token="s3cret")
    for _ in range(5):
        await provider.create(a_pod())
        await provider.delete(a_pod())
    await provider.close()
    await runner.cleanup()
    assert len(peers) == 1


async def test_every_request_is_observed_with_its_status(stub: StubProvider) -> None:
    observed: list[tuple[str, int]] = []
    patient, impatient = (
        ProviderClient(
            stub.url, timeout=timeout, observe=lambda path, code, seconds: observed.append((path, code))
        )
        for timeout in (30, 0.2)
    )
    await patient.create(a_pod())
    await patient.status("default", "none")
    with stub.hanging("/getPods"), pytest.raises(ProviderUnavailable):
        await impatient.pods()
    await patient.close()
    await impatient.close()
    assert observed == [("/createPod", 200), ("/getPodStatus", 404), ("/getPods", 0)]


async def test_statuses_since_waits_for_changes() -> None:
    async with providing(Ways(reports_changes=True)) as stub:
        provider = ProviderClient(stub.url)
        pod = a_pod(uid="uid-1")
        await provider.create(pod)
        first = await provider.statuses_since(0, wait=0)
        assert first
        assert [(c.namespace, c.name, c.uid) for c in first.statuses] == [("default", "web-0", "uid-1")]
        assert bytes(first.statuses[0].status).startswith(b'{"phase":"Running"')
        waiting = asyncio.create_task(provider.statuses_since(first.revision, wait=30))
        await stub.until(lambda: len(stub.requests_to("/podStatuses")) == 2)
        await provider.delete(pod)
        second = await waiting
        assert second
        assert [(gone.name, gone.uid) for gone in second.deleted] == [("web-0", "uid-1")]
        assert await provider.supports("logs")
        await provider.close()


@pytest.mark.parametrize(("code", "body"), [(404, b""), (405, b""), (501, b""), (200, b"<html>"), (200, b"[]")])
async def test_a_provider_without_pod_statuses_has_no_extensions(
    stub: StubProvider, provider: ProviderClient, code: int, body: bytes
) -> None:
    with stub.failing("/podStatuses", code, body=body):
        assert await provider.statuses_since(0, wait=0) is None
        assert not await provider.supports("logs")


async def test_extensions_of_an_unavailable_provider_are_unknown(
    stub: StubProvider, provider: ProviderClient
) -> None:
    with stub.failing("/podStatuses", 503), pytest.raises(ProviderUnavailable):
        await provider.supports("logs")
    with stub.failing("/extensions", 503), pytest.raises(ProviderUnavailable):
        await provider.supports("gracefulDelete")


async def test_extensions_are_those_the_provider_names() -> None:
    async with providing(Ways(extensions=("gracefulDelete",), reports_changes=True)) as stub:
        provider = ProviderClient(stub.url)
        assert await provider.supports("gracefulDelete")
        assert not await provider.supports("containerEnvironments")
        assert not await provider.supports("logs")
        await provider.close()
    assert len(stub.requests_to("/extensions")) == 1
    assert not stub.requests_to("/podStatuses")


async def test_those_who_wait_share_one_request() -> None:
    async with providing(Ways(extensions=("batch",))) as stub:
        provider = ProviderClient(stub.url)
        assert all(await asyncio.gather(*(provider.supports("batch") for _ in range(80))))
        await provider.close()
    assert len(stub.requests_to("/extensions")) == 1


async def test_extensions_are_requested_again_after_an_outage() -> None:
    async with providing(Ways(extensions=("gracefulDelete",))) as stub:
        provider = ProviderClient(stub.url)
        assert await provider.supports("gracefulDelete")
        await stub.stop()
        with pytest.raises(ProviderUnavailable):
            await provider.pods()
        stub.ways = Ways()
        await stub.start()
        assert not await provider.supports("gracefulDelete")
        await provider.close()


@pytest.mark.parametrize(
    ("code", "body"), [(301, b""), (400, b""), (404, b""), (501, b""), (200, b"<html>"), (200, b"[]")]
)
async def test_a_provider_without_the_path_has_none(
    stub: StubProvider, provider: ProviderClient, code: int, body: bytes
) -> None:
    with stub.failing("/extensions", code, body=body) as fault:
        assert not await provider.supports("gracefulDelete")
        assert not await provider.supports("gracefulDelete")
    assert fault.met == 1


@pytest.mark.parametrize("code", [401, 429, 502])
async def test_an_unanswered_question_is_repeated(stub: StubProvider, provider: ProviderClient, code: int) -> None:
    with stub.failing("/extensions", code), pytest.raises(ProviderError):
        await provider.supports("gracefulDelete")
    assert not await provider.supports("gracefulDelete")
