"""The status of the Node, with an API server and a provider."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.kubernetes.client import Client
from broker.node import reporter as module
from broker.node import status as status_module
from broker.node.manifest import NotReady
from broker.node.status import NodeStatus, own_ip
from broker.node_info import NodeInfo
from broker.provider import ProviderClient
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.node.parts import NodeParts
from tests.broker.nodes import dependencies_of, settings_of_a_node
from tests.conftest import Clock
from tests.stub_provider import StubProvider


@pytest.fixture
def info() -> NodeInfo:
    return NodeInfo("node")


@pytest.fixture
async def parts(
    api: ApiServer, client: Client, info: NodeInfo, *, clock: Clock, stub: StubProvider
) -> AsyncIterator[NodeParts]:
    """Parts of a Node that is registered without a status."""
    api.store.create("nodes", {"metadata": {"name": "node"}, "spec": {}})
    provider = ProviderClient(stub.url)
    settings = settings_of_a_node(stub.url, pod_ip=None)
    dependencies = dependencies_of(client, info, provider=provider, settings=settings, clock=clock)
    yield NodeParts(dependencies, own_ip="10.0.0.9")
    await provider.close()


@pytest.fixture
def status(parts: NodeParts) -> NodeStatus:
    return parts.status


def stored(api: ApiServer) -> Object:
    obj: Object = api.store.get("nodes", "node").get("status", {})
    return obj


def ready(status: Object) -> tuple[str, str]:
    found = next(c for c in status["conditions"] if c["type"] == "Ready")
    return found["status"], found["reason"]


async def test_the_status_of_the_provider_is_published(
    api: ApiServer, parts: NodeParts, status: NodeStatus, info: NodeInfo
) -> None:
    await parts.poll_provider()
    await status.write(status.current())
    assert ready(stored(api))[0] == "True"
    assert stored(api)["capacity"] == {"cpu": "20", "memory": "100Gi", "pods": "500"} == info.allocatable
    assert stored(api)["addresses"] == [{"type": "InternalIP", "address": "127.0.0.1"}] == info.addresses
    assert info.host_ips == ["127.0.0.1"]
    assert info.ready


async def test_an_answer_replaces_no_newer_status_of_the_watch(
    client: Client, parts: NodeParts, status: NodeStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await parts.poll_provider()
    patch = client.patch

    async def answered_late(path: str, body: Object) -> Object:
        answer = await patch(path, body)
        unknown = [{**condition, "status": "Unknown"} for condition in answer["status"]["conditions"]]
        status.observe({**answer["status"], "conditions": unknown})  # the node controller was faster
        return answer

    monkeypatch.setattr(client, "patch", answered_late)
    await status.write(status.current())
    assert not status.is_current


async def test_an_unreachable_provider_makes_the_node_not_ready(
    parts: NodeParts, status: NodeStatus, stub: StubProvider, info: NodeInfo
) -> None:
    await stub.stop()
    await parts.poll_provider()
    assert ready(status.current()) == ("False", "ProviderUnavailable")
    assert info.host_ips == ["10.0.0.9"]


@pytest.mark.parametrize("path", ["/capacity", "/nodeConditions", "/nodeAddresses"])
async def test_three_consecutive_failures_make_the_node_not_ready(
    parts: NodeParts, status: NodeStatus, stub: StubProvider, path: str
) -> None:
    await parts.poll_provider()
    good = status.current()
    with stub.failing(path, 500):
        seen = []
        for _ in range(3):
            await parts.poll_provider()
            seen.append(ready(status.current())[0])
        bad = status.current()
    assert seen == ["True", "True", "False"]
    assert bad["capacity"] == good["capacity"]
    assert bad["addresses"] == good["addresses"]
    await parts.poll_provider()
    assert ready(status.current())[0] == "True"


async def test_a_hanging_provider_times_out_after_one_period(
    parts: NodeParts, status: NodeStatus, stub: StubProvider, info: NodeInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.05)
    with stub.hanging("/capacity"):
        await parts.poll_provider()
    assert not info.ready


async def test_the_not_ready_message_names_the_failure(
    parts: NodeParts, status: NodeStatus, stub: StubProvider
) -> None:
    with stub.failing("/capacity", 503):
        await parts.poll_provider()
    message = next(c["message"] for c in status.current()["conditions"] if c["type"] == "Ready")
    assert "503" in message


async def test_a_stopped_node_is_not_ready(api: ApiServer, parts: NodeParts, status: NodeStatus) -> None:
    await parts.poll_provider()
    await status.write(status.current(NotReady("NodeShutdown", "the node has stopped")))
    assert ready(stored(api)) == ("False", "NodeShutdown")


async def test_conditions_of_other_parties_stay(api: ApiServer, parts: NodeParts, status: NodeStatus) -> None:
    node = api.store.get("nodes", "node")
    node["status"] = {"conditions": [{"type": "KernelDeadlock", "status": "False"}]}
    api.store.update("nodes", node, subresource="status")
    await parts.poll_provider()
    await status.write(status.current())
    assert {"type": "KernelDeadlock", "status": "False"} in stored(api)["conditions"]


async def test_an_unresolvable_host_name_is_not_published(
    parts: NodeParts, status: NodeStatus, info: NodeInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def addresses(_: ProviderClient, node: str | None = None) -> list[Object]:
        names = ("localhost", "no-such-host.invalid")
        return [{"type": "Hostname", "address": name} for name in names]

    monkeypatch.setattr(ProviderClient, "addresses", addresses)
    await parts.poll_provider()
    assert info.addresses == [
        {"type": "InternalIP", "address": "10.0.0.9"},
        {"type": "Hostname", "address": "localhost"},
    ]


async def test_a_status_is_written_on_change_or_heartbeat(
    api: ApiServer, parts: NodeParts, status: NodeStatus, *, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def writes() -> int:
        await parts.poll_provider()
        await status.write_if_due()
        return len(api.requests_to("PATCH"))

    assert [await writes() for _ in range(2)] == [1, 1]
    with stub.failing("/capacity", 500):
        assert [await writes() for _ in range(4)] == [1, 1, 2, 2]
    assert await writes() == 3  # it is available again
    monkeypatch.setattr(status_module, "HEARTBEAT", 0.0)
    assert [await writes() for _ in range(2)] == [3, 3]
    await status.write(status.current())
    assert await writes() == 5


async def test_a_changed_report_is_written(
    api: ApiServer, parts: NodeParts, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.1)
    monkeypatch.setattr(module, "RETRY", 0.1)
    async with parts.running():
        await api.until(lambda: stored(api).get("conditions"))
        assert ready(stored(api))[0] == "True"
        with stub.failing("/capacity", 500), api.failing(500, method="PATCH", times=2):
            await api.until(lambda: ready(stored(api)) == ("False", "ProviderUnavailable"))
        await api.until(lambda: ready(stored(api))[0] == "True")


def test_own_ip_is_the_address_facing_kubernetes() -> None:
    assert own_ip("https://127.0.0.1:6443") == "127.0.0.1"
    assert own_ip("https://no-such-host.invalid") == "127.0.0.1"


async def test_no_more_is_allocatable_than_the_capacity(parts: NodeParts, info: NodeInfo) -> None:
    await parts.poll_provider()
    parts.status.spec = replace(parts.status.spec, allocatable={"cpu": "21", "memory": "1Gi"})
    parts.status.apply_report()
    assert info.allocatable == {"cpu": "20", "memory": "1Gi", "pods": "500"}
