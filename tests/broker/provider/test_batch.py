"""Batches: which requests the client sends for several pods at once, and the outcome of each pod."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from broker.errors import ProviderRefused, ProviderUnavailable
from broker.provider import ProviderClient, batch
from tests.pods import a_pod
from tests.stub_provider import Reply, Request, StubProvider, Ways, providing

WITH_BATCH = Ways(extensions=("batch",))
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
async def stub() -> AsyncIterator[StubProvider]:
    async with providing(WITH_BATCH) as stub:
        yield stub


@pytest.fixture
async def provider(stub: StubProvider) -> AsyncIterator[ProviderClient]:
    provider = ProviderClient(stub.url, timeout=30)
    yield provider
    await provider.close()


async def together(*requests: Awaitable[Any]) -> list[Any]:
    """Return the result of each request, or its error; all are made at the same time."""
    return await asyncio.gather(*requests, return_exceptions=True)


def pod_named(name: str, **fields: Any) -> dict[str, Any]:
    return a_pod(name, uid=f"uid-{name}", **fields)


async def create_together(provider: ProviderClient, names: list[str] = NAMES) -> list[Any]:
    return await together(*(provider.create(pod_named(name)) for name in names))


def paths(stub: StubProvider, *ignored: str) -> list[str]:
    return [request.path for request in stub.requests if request.path not in ("/extensions", *ignored)]


async def test_a_pod_alone_is_sent_by_itself(stub: StubProvider, provider: ProviderClient) -> None:
    await provider.create(pod_named("a"))
    await provider.delete(pod_named("a"))
    assert [request.path for request in stub.requests] == ["/createPod", "/deletePod"]


async def test_pods_that_gathered_go_together(stub: StubProvider, provider: ProviderClient) -> None:
    assert await create_together(provider) == [None] * 4
    assert paths(stub) == ["/createPod", "/createPods"]
    assert list(stub.pods) == ["default/a", "default/b", "default/c", "default/d"]
    assert await together(*(provider.delete(pod_named(name)) for name in [*NAMES, "none"])) == [True] * 4 + [False]
    assert paths(stub, "/createPod", "/createPods") == ["/deletePod", "/deletePods"]
    assert [request.method for request in stub.requests_to("/deletePods")] == ["DELETE"]
    assert not stub.pods


async def test_after_a_batch_the_next_pods_gather(
    stub: StubProvider, provider: ProviderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_PAUSE": 1e9, "_LONGEST_PAUSE": 600, "_ENOUGH": 3}.items():
        monkeypatch.setattr(batch, name, value)
    await create_together(provider)
    await create_together(provider, list("efg"))
    assert [len(request.body) for request in stub.requests_to("/createPods")] == [3, 3]


async def test_a_pod_after_a_pod_is_not_delayed(
    stub: StubProvider, provider: ProviderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_LONGEST_PAUSE", 600)
    for name in NAMES:
        await provider.create(pod_named(name))
    assert paths(stub) == ["/createPod"] * 4


async def test_one_refused_pod_holds_up_no_other(stub: StubProvider, provider: ProviderClient) -> None:
    bad = pod_named("b")
    bad["spec"]["containers"] = []
    outcomes = await together(*(provider.create(pod) for pod in (pod_named("a"), bad, pod_named("c"))))
    assert outcomes[0] is outcomes[2] is None
    assert isinstance(outcomes[1], ProviderRefused)
    assert (outcomes[1].code, outcomes[1].message) == (400, "spec.containers: required")


async def test_a_failed_batch_fails_each_pod(stub: StubProvider, provider: ProviderClient) -> None:
    with stub.failing("/createPods", 503, retry_after=7):
        outcomes = await create_together(provider)
    assert outcomes[0] is None
    for outcome in outcomes[1:]:
        assert isinstance(outcome, ProviderUnavailable)
        assert outcome.retry_after == 7


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'[{"code": 200}]', b'["ok", "ok", "ok"]'])
async def test_an_invalid_answer_fails_each_pod(stub: StubProvider, provider: ProviderClient, body: bytes) -> None:
    with stub.failing("/createPods", 200, body=body):
        outcomes = await create_together(provider)
    assert [type(outcome) for outcome in outcomes[1:]] == [ProviderUnavailable] * 3


@pytest.mark.parametrize("code", [404, 405, 501])
async def test_a_provider_without_the_path_is_remembered(
    stub: StubProvider, provider: ProviderClient, code: int
) -> None:
    with stub.failing("/createPods", code):
        assert await create_together(provider) == [None] * 4
        assert await create_together(provider) == [None] * 4
    assert len(stub.requests_to("/createPods")) == 1
    with stub.failing("/getPods", 503), pytest.raises(ProviderUnavailable):
        await provider.pods()
    await create_together(provider)
    assert len(stub.requests_to("/createPods")) == 2


async def test_without_the_extension_pods_go_at_once() -> None:
    async with providing() as stub:
        provider = ProviderClient(stub.url)
        with stub.hanging("/createPod"):
            creating = asyncio.create_task(create_together(provider))
            await stub.until(lambda: len(stub.requests_to("/createPod")) == 4)
        assert await creating == [None] * 4
        assert "/createPods" not in paths(stub)
        await provider.close()


async def test_a_batch_too_large_is_divided(stub: StubProvider, provider: ProviderClient) -> None:
    async def answer(stub: StubProvider, request: Request) -> Reply:
        too_many = request.path == "/createPods" and len(request.body) > 2
        return Reply(413) if too_many else await stub.answer(request)

    stub.override = answer
    assert await create_together(provider, list("abcdefg")) == [None] * 7
    assert len(stub.pods) == 7
    assert [len(request.body) for request in stub.requests_to("/createPods")] == [6, 3, 2, 3, 2]
    stub.requests.clear()
    await create_together(provider, list("abcdefg"))
    assert [len(request.body) for request in stub.requests_to("/createPods")] == [2, 2, 2]


async def test_a_batch_is_limited_in_size(
    stub: StubProvider, provider: ProviderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_MOST_PODS", 2)
    await create_together(provider, list("abcde"))
    assert [len(request.body) for request in stub.requests_to("/createPods")] == [2, 2]
    large = [pod_named(name, metadata={"annotations": {"x": "x" * 600_000}}) for name in "fgh"]
    assert await together(*map(provider.create, large)) == [None] * 3
    assert paths(stub)[-3:] == ["/createPod"] * 3


async def test_one_that_left_is_not_sent(stub: StubProvider, provider: ProviderClient) -> None:
    with stub.hanging("/createPod$"):
        creates = [asyncio.create_task(provider.create(pod_named(name))) for name in NAMES]
        await stub.until(lambda: stub.requests_to("/extensions") or None)
        await asyncio.sleep(0)
        creates[1].cancel()
    outcomes = await together(*creates)
    assert [type(outcome) for outcome in outcomes] == [type(None), asyncio.CancelledError, type(None), type(None)]
    assert "default/b" not in stub.pods


async def test_a_pod_too_large_is_deleted_by_reference(stub: StubProvider, provider: ProviderClient) -> None:
    pod = a_pod("a", uid="uid-1")
    await provider.create(pod)
    pod["metadata"] |= {"annotations": {"x": "x" * 5000}, "deletionGracePeriodSeconds": 3}
    with stub.failing("/deletePod", 413, times=1):
        assert await provider.delete(pod)
    whole, reference = stub.requests_to("/deletePod")
    assert len(whole.content) > 5000
    assert reference.body["metadata"] == {
        "namespace": "default",
        "name": "a",
        "uid": "uid-1",
        "deletionGracePeriodSeconds": 3,
    }
    assert not stub.pods
