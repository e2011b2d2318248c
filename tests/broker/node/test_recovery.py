"""Changes of the Node by other clients are undone: registration and status, with an API server and a provider."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from broker.fleet import member as member_module
from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError
from broker.node_info import NodeInfo
from broker.provider import ProviderClient
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.node.parts import NodeParts
from tests.broker.nodes import dependencies_of, settings_of_a_node
from tests.conftest import Clock
from tests.stub_provider import providing

THEIRS = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}


@asynccontextmanager
async def starting(client: Client, clock: Clock) -> AsyncIterator[NodeParts]:
    """Start the parts of a broker, and register the node or adopt the one that is there."""
    async with providing() as stub:
        provider = ProviderClient(stub.url)
        dependencies = dependencies_of(
            client, NodeInfo("node"), provider=provider, settings=settings_of_a_node(stub.url), clock=clock
        )
        parts = NodeParts(dependencies)
        await parts.poll_provider()
        await parts.registration.register()
        yield parts
        await provider.close()


@pytest.fixture
async def parts(client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NodeParts]:
    monkeypatch.setattr(member_module, "PERIOD", 0.2)
    async with starting(client, clock) as parts:
        yield parts


def stored(api: ApiServer) -> Object:
    return api.store.get("nodes", "node")


def condition(api: ApiServer, type_: str) -> Object | None:
    conditions = stored(api)["status"]["conditions"]
    return next((condition for condition in conditions if condition["type"] == type_), None)


def changed(api: ApiServer, change: Callable[[Object], None], *, subresource: str = "status") -> None:
    """Change the stored Node as another client would."""
    node = stored(api)
    change(node)
    api.store.update("nodes", node, subresource=subresource)


def set_unknown(node: Object) -> None:
    """Change conditions as the node controller does when a lease has expired."""
    conditions = {condition["type"]: condition for condition in node["status"]["conditions"]}
    for type_ in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
        change = {"status": "Unknown", "lastTransitionTime": "2026-11-22T08:47:30Z"}
        conditions.setdefault(type_, {"type": type_}).update(change)
    node["status"]["conditions"] = list(conditions.values())


async def test_unknown_conditions_are_restored_by_a_refresh(
    api: ApiServer, parts: NodeParts, clock: Clock
) -> None:
    clock.advance(60)
    changed(api, set_unknown)
    api.requests.clear()
    await parts.registration.refresh()
    assert [request.method for request in api.requests] == ["GET", "PATCH"]
    ready = condition(api, "Ready")
    assert ready is not None
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", "2026-11-22T08:47:38Z")
    assert all(c["status"] != "Unknown" for c in stored(api)["status"]["conditions"])


async def test_a_transition_is_not_before_the_controllers(api: ApiServer, parts: NodeParts) -> None:
    changed(api, set_unknown)
    await parts.registration.refresh()
    ready = condition(api, "Ready")
    assert ready is not None
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", "2026-11-22T08:47:30Z")


async def test_an_unchanged_node_is_only_read(api: ApiServer, parts: NodeParts) -> None:
    await parts.status.write_if_due()
    api.requests.clear()
    await parts.registration.refresh()
    assert [request.method for request in api.requests] == ["GET"]


async def test_a_failed_refresh_is_an_error(api: ApiServer, parts: NodeParts) -> None:
    with api.failing(503, method="GET"), pytest.raises(ApiError):
        await parts.registration.refresh()


async def test_a_refresh_registers_a_deleted_node(api: ApiServer, parts: NodeParts) -> None:
    api.store.delete("nodes", "node")
    await parts.registration.refresh()
    ready = condition(api, "Ready")
    assert ready is not None
    assert ready["status"] == "True"


@pytest.mark.parametrize(
    "change",
    [
        lambda status: status.update(conditions=[]),
        lambda status: status.update(addresses=[{"type": "InternalIP", "address": "192.0.2.1"}]),
        lambda status: status["capacity"].update(cpu="1"),
        lambda status: status["allocatable"].pop("memory"),
        lambda status: status.update(daemonEndpoints={"kubeletEndpoint": {"Port": 1}}),
    ],
    ids=["conditions", "addresses", "capacity", "allocatable", "port"],
)
async def test_a_watched_change_of_the_status_is_undone(
    api: ApiServer, parts: NodeParts, change: Callable[[Object], None]
) -> None:
    async with parts.running():
        await api.until(lambda: api.watchers)
        await parts.status.write_if_due()
        before = stored(api)["status"]
        changed(api, lambda node: change(node["status"]))
        await api.until(lambda: stored(api)["status"] == before)


async def test_a_shutdown_status_of_another_broker_is_undone(api: ApiServer, parts: NodeParts) -> None:
    async with parts.running():
        await api.until(lambda: api.watchers)
        changed(api, lambda node: node["status"]["conditions"][0].update(status="False", reason="NodeShutdown"))
        await api.until(lambda: (condition(api, "Ready") or {})["status"] == "True")


async def test_a_watched_change_of_labels_and_taints_is_undone(api: ApiServer, parts: NodeParts) -> None:
    def change(node: Object) -> None:
        node["metadata"]["labels"] = {"theirs": "yes", "type": "other"}
        node["spec"]["taints"] = [THEIRS]

    labels, taints = stored(api)["metadata"]["labels"], stored(api)["spec"]["taints"]
    async with parts.running():
        await api.until(lambda: api.watchers)
        changed(api, change, subresource="")
        await api.until(lambda: stored(api)["metadata"]["labels"] == {**labels, "theirs": "yes"})
        await api.until(lambda: stored(api)["spec"]["taints"] == [THEIRS, *taints])


async def test_an_identity_without_permission_tries_once(api: ApiServer, parts: NodeParts) -> None:
    changed(api, lambda node: node["spec"].update(taints=[]), subresource="")
    with api.failing(403, reason="Forbidden", method="PATCH", path="nodes/node$") as fault:
        for _ in range(2):
            await parts.registration.refresh()
    assert fault.met == 1


async def test_a_restart_is_no_transition(api: ApiServer, client: Client, clock: Clock) -> None:
    async with starting(client, clock):
        before = condition(api, "NetworkUnavailable")
    clock.advance(60)
    async with starting(client, clock) as restarted:
        await restarted.status.write(restarted.status.current())
    after = condition(api, "NetworkUnavailable")
    assert before is not None
    assert after is not None
    assert after["lastTransitionTime"] == before["lastTransitionTime"]
