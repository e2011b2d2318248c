"""Nodes and leases of a fleet that are, or come, in the hands of others: with the fake API server."""

from contextlib import ExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.dependencies import utc_now
from broker.kubelet.health import is_ready as is_broker_ready
from broker.kubernetes.config import ClusterConfig
from broker.node import lease, leases, registration
from broker.runner import Broker
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.fleet.conftest import FleetFile
from tests.broker.fleet.stored import phase, ready
from tests.broker.nodes import running_node, settings_of_a_node
from tests.broker.waiting import eventually
from tests.pods import a_pod
from tests.stub_provider import StubProvider

FLEET = "fleet.virtual-kubelet.io/name"
REFUSED = "node not registered"


@pytest.fixture(autouse=True)
def _short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PERIOD", 0.1)
    monkeypatch.setattr(lease, "_RETRY_LIMIT", 0.2)  # a busy machine takes longer than a period
    monkeypatch.setattr(lease, "WAIT_PERIOD", 0.02)
    monkeypatch.setattr(registration, "_RETRY_LIMIT", 0.1)


def uid(api: ApiServer, name: str) -> str:
    return str((api.store.find("nodes", name) or {"metadata": {"uid": ""}})["metadata"]["uid"])


def holder(api: ApiServer, name: str) -> str:
    found = api.store.find("leases", name, "kube-node-lease") or {"spec": {}}
    return str(found["spec"].get("holderIdentity") or "")


def take_lease(api: ApiServer, name: str, identity: str | None) -> None:
    found = api.store.get("leases", name, "kube-node-lease")
    api.store.update("leases", {**found, "spec": {**found["spec"], "holderIdentity": identity}})


async def until_held(broker: Broker, *nodes: str) -> None:
    """Wait until the broker has the answer that it holds the leases."""
    await eventually(lambda: all(node in broker.nodes and broker.nodes[node].holds_lease for node in nodes))


def foreign(name: str, **metadata: Any) -> Object:
    return {"metadata": {"name": name, **metadata}, "spec": {"providerID": f"aws:///{name}"}}


async def run_pod(api: ApiServer, name: str, node: str) -> None:
    api.store.create("pods", a_pod(name, nodeName=node))
    await api.until(lambda: phase(api, name) == "Running")


async def test_a_lost_lease_gives_up_its_node_alone(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 2}]") as broker:
        await until_held(broker, "a-0", "a-1")
        take_lease(api, "a-0", "a-0_another")
        await eventually(lambda: not broker.nodes["a-0"].holds_lease)
        api.requests.clear()
        api.store.create("pods", a_pod("held", nodeName="a-0"))
        await run_pod(api, "web", "a-1")  # the other node goes on
        await api.until(lambda: len(api.requests_to("PUT", "/leases/a-1$")) >= 3)
        assert not [r for method in ("PUT", "PATCH", "POST") for r in api.requests_to(method, "a-0|held")]
        assert is_broker_ready(broker.health, utc_now())
        take_lease(api, "a-0", None)
        await api.until(lambda: holder(api, "a-0") and phase(api, "held") == "Running")
    assert not ready(api, "a-0")  # handed over, as the other one


async def test_handing_over_leaves_a_lost_node(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 2}]") as broker:
        await until_held(broker, "a-0", "a-1")
        take_lease(api, "a-0", "a-0_another")
        await eventually(lambda: not broker.nodes["a-0"].holds_lease)
    assert ready(api, "a-0")
    assert holder(api, "a-0") == "a-0_another"
    assert not ready(api, "a-1")


async def test_of_two_brokers_none_stops(api: ApiServer, cluster: ClusterConfig, stub: StubProvider) -> None:
    one, two = (settings_of_a_node(stub.url, node_name="a", nodes=2, lease_identity=name) for name in "12")
    async with running_node(one, cluster), running_node(two, cluster):
        await api.until(lambda: holder(api, "a-0") and holder(api, "a-1"))
        take_lease(api, "a-0", "a-0_2" if holder(api, "a-0") == "a-0_1" else "a-0_1")
        version = api.store.get("leases", "a-0", "kube-node-lease")["metadata"]["resourceVersion"]
        await api.until(
            lambda: api.store.get("leases", "a-1", "kube-node-lease")["metadata"]["resourceVersion"] > version
        )


async def test_a_lost_node_is_not_drained(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 2, drain: true}]") as broker:
        await until_held(broker, "a-0", "a-1")
        await run_pod(api, "web", "a-1")
        with api.failing(429, method="POST", path="eviction", times=None):
            file.write("pools: [{name: a, count: 1, drain: true}]")
            await api.until(lambda: api.requests_to("POST", "eviction"))
            take_lease(api, "a-1", "a-1_another")
            await eventually(lambda: not broker.nodes["a-1"].holds_lease)
        await api.until(lambda: len(api.requests_to("PUT", "/leases/a-0$")) >= 3)
        assert uid(api, "a-1")
        assert phase(api, "web") == "Running"


async def test_nodes_of_others_are_left_alone(api: ApiServer, file: FleetFile) -> None:
    api.store.create("nodes", foreign("a-0", labels={"owner": "somebody"}))
    api.store.create("nodes", foreign("a-1", labels={FLEET: "another"}))
    before = [api.store.get("nodes", name) for name in ("a-0", "a-1")]
    file.write("pools: [{name: a, count: 3}]")
    with capture_logs() as logs:
        async with file.running():
            await api.until(lambda: ready(api, "a-2"))
            await api.until(lambda: {log["node"] for log in logs if log["event"] == REFUSED} == {"a-0", "a-1"})
            file.write("pools: [{name: a, count: 0}]")
            await api.until(lambda: not uid(api, "a-2"))
    assert [api.store.get("nodes", name) for name in ("a-0", "a-1")] == before
    assert api.store.list("leases") == []
    assert len([log for log in logs if log["event"] == REFUSED]) == 2  # once for each


async def test_a_name_is_tried_again(api: ApiServer, file: FleetFile) -> None:
    api.store.create("nodes", foreign("a-0"))
    file.write("pools: [{name: a, count: 1}]")
    with capture_logs() as logs:
        async with file.running():
            await eventually(lambda: [log for log in logs if log["event"] == REFUSED])
            assert not api.requests_to("POST", "nodes$")  # the watch reports the Node of the other client
            api.store.delete("nodes", "a-0")
            await api.until(lambda: ready(api, "a-0"))


async def test_a_drain_outlasts_a_restart(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 1, drain: true, labels: {tier: web}}]"):
        await run_pod(api, "web", "a-0")
    labels = api.store.get("nodes", "a-0")["metadata"]["labels"]
    file.write("pools: []")
    with api.failing(429, method="POST", path="eviction", times=None):
        async with file.running():
            await api.until(lambda: api.requests_to("POST", "eviction"))
    assert api.store.get("nodes", "a-0")["metadata"]["labels"] == labels


async def test_a_node_that_another_replaces_is_given_up(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 2}]") as broker:
        await until_held(broker, "a-0", "a-1")
        api.store.delete("nodes", "a-0")
        there = api.store.create("nodes", foreign("a-0"))
        await eventually(lambda: not broker.nodes["a-0"].holds_lease)
        await run_pod(api, "web", "a-1")
        assert api.store.get("nodes", "a-0") == there
        file.write("pools: [{name: a, count: 1}]")
        await api.until(lambda: not uid(api, "a-1"))
        api.store.delete("nodes", "a-0")
        await api.until(lambda: ready(api, "a-0"))


async def test_refused_nodes_do_not_delay_others(api: ApiServer, file: FleetFile) -> None:
    for number in range(9):  # more than are registered at once
        api.store.create("nodes", foreign(f"a-{number}"))
    async with file.running("pools: [{name: a, count: 9}, {name: b, count: 1}]"):
        await api.until(lambda: ready(api, "b-0"))


ADOPTED = {"annotations": {"kwok.x-k8s.io/node": "fake"}}
ADOPT = "adopt: {kwok.x-k8s.io/node: fake}\npools: []"


async def test_an_adopted_node_returns_with_its_pods(api: ApiServer, file: FleetFile) -> None:
    file.write(ADOPT)
    api.store.create("nodes", foreign("theirs", **ADOPTED))
    async with file.running():
        await run_pod(api, "web", "theirs")
        for _ in range(2):
            api.store.delete("nodes", "theirs")
            api.store.create("nodes", foreign("theirs", **ADOPTED))
            await api.until(lambda: ready(api, "theirs"))
        api.requests.clear()
        await api.until(lambda: len(api.requests_to("PUT", "/leases/theirs$")) >= 3)
        await run_pod(api, "another", "theirs")
        assert phase(api, "web") == "Running"


async def test_a_node_of_a_pool_returns_with_its_pods(api: ApiServer, file: FleetFile, stub: StubProvider) -> None:
    async with file.running("pools: [{name: a, count: 1}]"):
        await run_pod(api, "web", "a-0")
        file.write("pools: [{name: a, count: 0}]")
        await api.until(lambda: not uid(api, "a-0"))
        file.write("pools: [{name: a, count: 1, labels: {tier: web}}]")
        await api.until(lambda: ready(api, "a-0"))
        assert api.store.get("nodes", "a-0")["metadata"]["labels"]["tier"] == "web"
        await run_pod(api, "another", "a-0")
    assert phase(api, "web") == "Running"
    assert stub.requests_to("/deletePod") == []


async def test_an_adopted_node_that_is_gone_is_forgotten(api: ApiServer, file: FleetFile) -> None:
    file.write("pools: []")
    api.store.create("nodes", foreign("theirs", **ADOPTED))
    async with file.running() as broker:
        with api.failing(404, reason="NotFound", method="PATCH", path="nodes/theirs"):
            file.write(ADOPT)
            await api.until(lambda: api.requests_to("PATCH", "nodes/theirs"))
            await eventually(lambda: "theirs" not in broker.nodes)


@pytest.mark.parametrize("text", ["pools: []", "adopt: {other: mark}"])
async def test_a_node_not_adopted_anymore_is_given_up(api: ApiServer, file: FleetFile, text: str) -> None:
    file.write(ADOPT)
    api.store.create("nodes", foreign("theirs", **ADOPTED))
    async with file.running() as broker:
        await api.until(lambda: ready(api, "theirs"))
        file.write(text)
        await eventually(lambda: "theirs" not in broker.nodes)
    assert api.store.find("nodes", "theirs")


async def test_an_adopted_node_keeps_its_name(api: ApiServer, file: FleetFile) -> None:
    api.store.create("nodes", foreign("a-0", **ADOPTED))
    async with file.running(ADOPT) as broker:
        await api.until(lambda: ready(api, "a-0"))
        file.write(ADOPT.replace("[]", "[{name: a, count: 2}]"))
        await api.until(lambda: ready(api, "a-1"))
        file.write(ADOPT)
        await eventually(lambda: "a-1" not in broker.nodes)
    assert "labels" not in api.store.get("nodes", "a-0")["metadata"]


async def test_a_node_given_up_tells_what_it_waits_for(api: ApiServer, file: FleetFile) -> None:
    file.write(ADOPT.replace("[]", "[{name: a, count: 1}]"))
    api.store.create("nodes", foreign("theirs", **ADOPTED))
    with capture_logs() as logs:
        async with file.running() as broker:
            for node in ("theirs", "a-0"):
                await run_pod(api, f"web-{node}", node)
            file.write("pools: []")
            await eventually(
                lambda: {log["node"] for log in logs if "waits until" in log["event"]} == {"theirs", "a-0"}
            )
            assert broker.nodes["theirs"].holds_lease
            await api.until(lambda: not holder(api, "theirs"))  # another broker takes it on at once
    assert {log["pods"] for log in logs if "waits until" in log["event"]} == {1}
    assert not [log for log in logs if log["event"] in ("node removed", "node given up")]


async def test_a_stop_releases_nodes_that_are_drained(api: ApiServer, file: FleetFile) -> None:
    file.write("pools: [{name: a, count: 1, drain: true}]")
    with api.failing(429, method="POST", path="eviction", times=None):
        async with file.running():
            await run_pod(api, "web", "a-0")
            file.write("pools: []")
            await api.until(lambda: api.requests_to("POST", "eviction"))
    assert not holder(api, "a-0")
    assert not ready(api, "a-0")


async def test_pods_are_listed_before_a_node_is_removed(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 1, drain: true}]"):
        await run_pod(api, "web", "a-0")
    file.write("pools: []")
    with api.failing(503, method="GET", path="/api/v1/pods$", times=2):
        async with file.running():
            await api.until(lambda: not uid(api, "a-0"))
    assert api.requests_to("POST", "eviction")


@pytest.mark.parametrize("drained_by", ["this broker", "an earlier broker"])
async def test_a_pool_may_end_its_drains(api: ApiServer, file: FleetFile, drained_by: str) -> None:
    with api.failing(429, method="POST", path="eviction", times=None):
        async with file.running("pools: [{name: a, count: 2, drain: true}]"):
            await run_pod(api, "web", "a-1")
            if drained_by == "this broker":
                file.write("pools: [{name: a, count: 1, drain: true}]")
                await api.until(lambda: api.requests_to("POST", "eviction"))
                file.write("pools: [{name: a, count: 1}]")
                await api.until(lambda: not uid(api, "a-1"))
        async with file.running("pools: [{name: a, count: 1}]"):
            await api.until(lambda: not uid(api, "a-1") and ready(api, "a-0"))
    assert phase(api, "web") == "Running"


async def test_a_waiting_broker_warns_once(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_GATHERING", 0.05)
    one, two = (settings_of_a_node(stub.url, node_name="a", nodes=5, lease_identity=name) for name in "12")
    async with running_node(one, cluster):
        await api.until(lambda: all(holder(api, f"a-{number}") for number in range(5)))
        with capture_logs() as logs:
            async with running_node(two, cluster):
                await eventually(lambda: [log for log in logs if log["event"].startswith("another broker runs")])
    (warning,) = [log for log in logs if log["event"].startswith("another broker runs")]
    assert warning["event"].startswith("another broker runs 5 nodes; waiting until")


async def test_nodes_not_marked_as_stopped_are_one_message(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider
) -> None:
    settings = settings_of_a_node(stub.url, node_name="fleet", nodes=8)
    with capture_logs() as logs, ExitStack() as faults:
        async with running_node(settings, cluster) as broker:
            await eventually(lambda: sum(node.holds_lease for node in broker.nodes.values()) == 8)
            await api.until(lambda: all(ready(api, f"fleet-{number}") for number in range(8)))
            faults.enter_context(api.failing(503, path="/status$"))
    [message] = [line for line in logs if "not marked as stopped" in line["event"]]
    assert (message["nodes"], len(message["names"].split(", "))) == (8, 6)
    assert "injected" in message["error"]


async def test_many_refused_nodes_are_one_message_more(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider
) -> None:
    settings = settings_of_a_node(stub.url, node_name="fleet", nodes=8)
    with capture_logs() as logs, api.failing(403, method="POST", path="nodes$", reason="Forbidden"):
        async with running_node(settings, cluster):
            await eventually(lambda: len([log for log in logs if log["event"] == REFUSED]) == 2)
    first, others = [log for log in logs if log["event"] == REFUSED]
    assert "node" in first
    assert others["nodes"] == 7
