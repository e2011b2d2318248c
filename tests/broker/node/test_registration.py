"""The registration of the node, against an API server."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.kubernetes.client import Client
from broker.node.applied import APPLIED
from broker.node.registration import Registration
from broker.node_info import NodeInfo
from broker.node_spec import NodeSpec
from broker.provider import ProviderClient
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.node.parts import NodeParts
from tests.broker.nodes import dependencies_of, settings_of_a_node
from tests.broker.waiting import eventually
from tests.conftest import Clock
from tests.stub_provider import StubProvider
from tests.stub_provider.provider import NODE_STATE

OURS = {"key": "virtual-kubelet.io/provider", "value": "web", "effect": "NoSchedule"}
THEIRS = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


@pytest.fixture
def info() -> NodeInfo:
    return NodeInfo("node")


MakeRegistration = Callable[..., Registration]
MakeParts = Callable[..., NodeParts]


@pytest.fixture
async def parts(client: Client, info: NodeInfo, clock: Clock, stub: StubProvider) -> AsyncIterator[MakeParts]:
    provider = ProviderClient(stub.url)

    def make(**fields: Any) -> NodeParts:
        settings = settings_of_a_node(stub.url, **fields)
        return NodeParts(dependencies_of(client, info, provider=provider, settings=settings, clock=clock))

    yield make
    await provider.close()


@pytest.fixture
def make(parts: MakeParts) -> MakeRegistration:
    return lambda **fields: parts(**fields).registration


def stored(api: ApiServer) -> Object:
    return api.store.get("nodes", "node")


async def test_a_node_is_registered_with_labels_and_taint(
    api: ApiServer, make: MakeRegistration, info: NodeInfo
) -> None:
    await make(labels={"zone": "a"}).register()
    node = stored(api)
    assert node["metadata"]["labels"]["zone"] == "a"
    assert node["spec"]["taints"] == [OURS]
    assert node["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert info.uid == node["metadata"]["uid"]
    assert info.labels == node["metadata"]["labels"]


async def test_an_existing_node_keeps_the_fields_of_others(
    api: ApiServer, make: MakeRegistration, info: NodeInfo
) -> None:
    there = api.store.create(
        "nodes",
        {
            "metadata": {"name": "node", "labels": {"theirs": "yes", "type": "old"}},
            "spec": {"taints": [{**OURS, "effect": "NoExecute"}, THEIRS], "podCIDR": "10.1.0.0/24"},
        },
    )
    await make().register()
    node = stored(api)
    assert node["metadata"]["uid"] == there["metadata"]["uid"] == info.uid
    assert node["metadata"]["labels"] == {**node["metadata"]["labels"], "theirs": "yes", "type": "virtual-kubelet"}
    assert node["spec"] == {"taints": [THEIRS, OURS], "podCIDR": "10.1.0.0/24"}


async def test_an_unchanged_node_is_not_written(api: ApiServer, make: MakeRegistration) -> None:
    await make().register()
    version = stored(api)["metadata"]["resourceVersion"]
    await make().register()
    assert stored(api)["metadata"]["resourceVersion"] == version
    assert api.requests_to("PATCH") == []


async def test_a_concurrently_added_taint_is_kept(api: ApiServer, make: MakeRegistration) -> None:
    api.store.create("nodes", {"metadata": {"name": "node"}, "spec": {}})
    with api.hanging(method="PATCH") as fault:
        task = asyncio.create_task(make().register())
        await api.until(lambda: fault.met)
        api.store.update("nodes", {**stored(api), "spec": {"taints": [THEIRS]}})
    await task
    assert stored(api)["spec"]["taints"] == [THEIRS, OURS]


async def test_registration_waits_for_the_api_server(api: ApiServer, make: MakeRegistration) -> None:
    with api.failing(503, times=3):
        await make().register()
    assert stored(api)


@pytest.mark.parametrize("there", [True, False])
async def test_a_forbidden_role_label_is_omitted(api: ApiServer, make: MakeRegistration, there: bool) -> None:
    if there:
        api.store.create("nodes", {"metadata": {"name": "node"}, "spec": {}})
    with api.forbidding_labels("kubernetes.io/role"):
        await make().register()
    labels = stored(api)["metadata"]["labels"]
    assert "kubernetes.io/role" not in labels
    assert labels["type"] == "virtual-kubelet"


async def test_a_node_without_patch_permission_is_adopted_unchanged(
    api: ApiServer, make: MakeRegistration, info: NodeInfo
) -> None:
    there = api.store.create("nodes", {"metadata": {"name": "node"}, "spec": {"taints": [THEIRS]}})
    with api.failing(403, reason="Forbidden", method="PATCH"):
        await make().register()
    assert info.uid == there["metadata"]["uid"]
    assert stored(api) == there


async def test_a_deleted_node_is_recreated(api: ApiServer, parts: MakeParts) -> None:
    async with parts().running() as info:
        await api.until(lambda: api.watchers)
        first = info.uid
        api.store.delete("nodes", "node")
        node = await api.until(lambda: api.store.find("nodes", "node"))
        await eventually(lambda: info.uid not in ("", first))
    assert node["metadata"]["uid"] == info.uid != first
    assert node["spec"]["taints"] == [OURS]
    assert node["status"]["conditions"]


async def test_a_node_deleted_during_an_outage_is_recreated(api: ApiServer, parts: MakeParts) -> None:
    async with parts().running():
        await api.until(lambda: api.watchers)
        await api.stop()
        api.store.delete("nodes", "node")
        api.store.compact()
        await api.start()
        await api.until(lambda: api.store.find("nodes", "node"))


def relabel(api: ApiServer, value: str) -> Object:
    """Set a label of the Node, as another client; return what the watch delivers."""
    api.store.update(
        "nodes", {**stored(api), "metadata": {**stored(api)["metadata"], "labels": {"theirs": value}}}
    )
    return stored(api)


def later(
    request: Callable[..., Awaitable[Object]], change: Callable[[], None]
) -> Callable[..., Awaitable[Object]]:
    """Return a request whose answer arrives after a change that was made later."""

    async def send(*args: Any) -> Object:
        answer = await request(*args)
        change()
        return answer

    return send


@pytest.mark.parametrize(
    ("method", "call"), [("create", "register_once"), ("patch", "restore"), ("get", "refresh")]
)
async def test_an_answer_replaces_no_newer_node_of_the_watch(
    api: ApiServer,
    client: Client,
    parts: MakeParts,
    info: NodeInfo,
    monkeypatch: pytest.MonkeyPatch,
    *,
    method: str,
    call: str,
) -> None:
    registration = parts().registration
    if method != "create":
        await registration.register()
        registration.observe(relabel(api, "old"))
    changed = later(getattr(client, method), lambda: registration.observe(relabel(api, "new")))
    monkeypatch.setattr(client, method, changed)
    await getattr(registration, call)()
    assert info.labels["theirs"] == registration.observed["metadata"]["labels"]["theirs"] == "new"


async def test_a_node_deleted_before_an_answer_is_gone(
    client: Client, make: MakeRegistration, info: NodeInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration = make()
    await registration.register()
    monkeypatch.setattr(client, "get", later(client.get, registration.mark_deleted))
    await registration.refresh()
    assert (info.uid, registration.observed) == ("", {})


async def test_a_node_deleted_before_the_answer_to_its_creation_is_created_again(
    api: ApiServer, client: Client, make: MakeRegistration, info: NodeInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration = make()

    def delete() -> None:
        monkeypatch.undo()
        api.store.delete("nodes", "node")
        registration.mark_deleted()

    monkeypatch.setattr(client, "create", later(client.create, delete))
    await registration.register()
    assert info.uid == stored(api)["metadata"]["uid"]


async def test_labels_and_taints_of_others_are_stored(api: ApiServer, parts: MakeParts) -> None:
    async with parts().running() as info:
        await api.until(lambda: api.watchers)
        node = stored(api)
        node["metadata"]["labels"]["theirs"] = "new"
        node["spec"]["taints"] = [OURS, THEIRS]
        api.store.update("nodes", node)
        await eventually(lambda: info.labels.get("theirs") == "new")
        assert info.taints == [OURS, THEIRS]


async def test_labels_and_taints_that_a_pool_has_lost(api: ApiServer, parts: MakeParts) -> None:
    first = parts(labels={"zone": "a"})
    await first.registration.register()
    node = stored(api)
    node["metadata"]["labels"]["theirs"] = "yes"
    api.store.update("nodes", {**node, "spec": {"taints": [OURS, THEIRS]}})
    second = parts(disable_taint=True, taint_key="other")  # started again, with other settings
    await second.registration.register()
    assert stored(api)["spec"]["taints"] == [OURS, THEIRS]  # they may be the provider's, which has not answered
    await second.poll_provider()
    await second.registration.restore()
    assert "zone" not in stored(api)["metadata"]["labels"]
    assert stored(api)["metadata"]["labels"]["theirs"] == "yes"
    assert stored(api)["spec"]["taints"] == [THEIRS]
    second.registration.update(NodeSpec("node", labels={"type": "other"}))
    await second.registration.restore()
    assert stored(api)["metadata"]["labels"] == {"type": "other", "kubernetes.io/role": "agent", "theirs": "yes"}


async def test_a_node_keeps_its_resources_until_the_provider_answers(
    api: ApiServer, parts: MakeParts, stub: StubProvider
) -> None:
    for _ in range(2):
        started = parts()
        await started.poll_provider()
        await started.registration.register()
        await started.status.write(started.status.current())
        await stub.stop()  # before the broker is started again
    status = stored(api)["status"]
    assert status["capacity"] == status["allocatable"] == NODE_STATE["/capacity"]
    assert next(c["status"] for c in status["conditions"] if c["type"] == "Ready") == "False"


async def test_extended_resources_of_others_are_allocatable(
    api: ApiServer, parts: MakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, dongle, reported = "example.com/gpu", "example.com/dongle", NODE_STATE["/capacity"]
    monkeypatch.setitem(NODE_STATE, "/capacity", {**reported, gpu: "2"})

    def resources(name: str) -> dict[str, str | None]:
        """Return capacity and allocatable amount of a resource."""
        return {field: stored(api)["status"][field].get(name) for field in ("capacity", "allocatable")}

    def change(amount: str | None) -> None:
        node = stored(api)
        capacity = {name: value for name, value in node["status"]["capacity"].items() if name != dongle}
        capacity |= {dongle: amount} if amount else {}
        changed = {**node, "status": {**node["status"], "capacity": capacity}}
        api.store.update("nodes", changed, subresource="status")

    async with parts(lease_identity="x").running() as info:
        await api.until(lambda: api.watchers)
        change("4")
        await api.until(lambda: resources(dongle)["allocatable"] == "4")
        assert info.allocatable[dongle] == "4"
        assert resources(gpu) == {"capacity": "2", "allocatable": "2"}
    monkeypatch.setitem(NODE_STATE, "/capacity", reported)
    async with parts(lease_identity="x").running() as info:  # the provider has lost a resource
        await api.until(lambda: resources(gpu) == {"capacity": None, "allocatable": None})
        assert resources(dongle) == {"capacity": "4", "allocatable": "4"}
        await api.until(lambda: api.watchers)
        change(None)
        await api.until(lambda: resources(dongle) == {"capacity": None, "allocatable": None})
        assert dongle not in info.allocatable


@pytest.mark.parametrize("text", ["", "[]", '{"labels": 1}'])
async def test_an_invalid_annotation_is_written_again(api: ApiServer, make: MakeRegistration, text: str) -> None:
    api.store.create("nodes", {"metadata": {"name": "node", "annotations": {APPLIED: text}}, "spec": {}})
    await make().register()
    assert "kubernetes.io/os" in json.loads(stored(api)["metadata"]["annotations"][APPLIED])["labels"]


async def test_a_refused_node_is_logged_once_a_cause(api: ApiServer, make: MakeRegistration) -> None:
    with capture_logs() as logs, api.failing(403, reason="Forbidden", times=3), api.failing(503, times=2):
        await make().register()
    assert [log["event"] for log in logs] == ["node not registered"] * 2 + ["node registered"]


async def test_a_registered_node_takes_little_memory(
    api: ApiServer, make: MakeRegistration, parts: MakeParts
) -> None:
    await make().register()
    node = json.dumps(stored(api))
    idle = [parts() for _ in range(100)]
    tracemalloc.start()
    for each in idle:
        each.registration.observe(json.loads(node))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / len(idle) < 2.5 * len(node)
