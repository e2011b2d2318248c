"""Fleets of nodes, with the fake API server and a stub provider."""

import asyncio
from typing import Any

import pytest

from broker.fleet.pools import fleet_of_settings
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.objects import to_micro_time
from broker.node.reporter import NodeReporter
from broker.node_info import NodeInfo
from broker.node_spec import METRICS_PATH
from broker.pods import watch
from broker.provider import ProviderClient
from tests.broker.apiserver import ApiServer
from tests.broker.fleet.conftest import FleetFile
from tests.broker.fleet.stored import messages, names, phase, ready
from tests.broker.node.parts import running
from tests.broker.nodes import dependencies_of, running_node, settings_of_a_node
from tests.broker.waiting import eventually
from tests.conftest import Clock
from tests.pods import a_pod
from tests.stub_provider import StubProvider


async def test_a_thousand_nodes_are_registered_and_renewed(
    api: ApiServer, client: Client, clock: Clock, stub: StubProvider
) -> None:
    settings = settings_of_a_node(stub.url, node_name="fleet", nodes=1000)
    provider = ProviderClient(stub.url)
    dependencies = dependencies_of(client, NodeInfo("fleet"), provider=provider, settings=settings, clock=clock)
    reporter = NodeReporter(dependencies, own_ip="127.0.0.1")
    async with running(dependencies, fleet_of_settings(settings), reporter) as members:
        await eventually(lambda: len(members.holding) == 1000, seconds=240)
        assert len(names(api)) == 1000
        assert all(ready(api, name) for name in names(api))
        assert len(api.requests_to("GET", "leases$")) < 20
        assert len(api.requests_to("GET", "leases/")) < 20  # not one for each node
        clock.advance(10)
        await asyncio.gather(*(member.lease.renew() for member in members.holding))
        assert min(lease["spec"]["renewTime"] for lease in api.store.list("leases")) >= to_micro_time(clock())
    assert len(stub.requests_to("/capacity")) < 20  # one request for all nodes
    await provider.close()


async def test_a_node_takes_two_requests(api: ApiServer, file: FleetFile) -> None:
    def requests(name: str) -> list[tuple[str, str]]:
        found = []
        for request in api.requests:
            metadata = (request.body or {}).get("metadata") or {}
            if name in (*request.path.split("/"), metadata.get("name")):
                found.append((request.method, request.path.rsplit("/", 1)[1]))
        return sorted(found)

    file.write("adopt: {theirs: 'yes'}\npools: [{name: a, count: 1}]")
    api.store.create("nodes", {"metadata": {"name": "b-0", "labels": {"theirs": "yes"}}, "spec": {}})
    async with file.running() as broker:
        await eventually(lambda: [node.holds_lease for node in broker.nodes.values()] == [True, True])
        await api.until(lambda: ready(api, "a-0") and ready(api, "b-0"))
        assert requests("a-0") == [("POST", "leases"), ("POST", "nodes")]
        assert requests("b-0") == [("PATCH", "status"), ("POST", "leases")]
    api.requests.clear()
    async with file.running() as broker:
        await eventually(lambda: [node.holds_lease for node in broker.nodes.values()] == [True, True])
        await api.until(lambda: ready(api, "a-0") and ready(api, "b-0"))
        for name in ("a-0", "b-0"):
            assert requests(name) == [("PATCH", "status"), ("PUT", name)]


async def test_pods_of_all_nodes_run(api: ApiServer, cluster: ClusterConfig, stub: StubProvider) -> None:
    api.store.create("pods", a_pod("elsewhere", nodeName="other"))
    async with running_node(settings_of_a_node(stub.url, node_name="fleet", nodes=2), cluster):
        for number in range(2):
            api.store.create("pods", a_pod(f"web-{number}", nodeName=f"fleet-{number}"))
        await api.until(lambda: phase(api, "web-0") == phase(api, "web-1") == "Running")
    assert phase(api, "elsewhere") == "Pending"
    assert len(stub.requests_to("/createPod")) == 2


async def test_pods_are_listed_again_where_a_new_node_has_some(
    api: ApiServer, file: FleetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lists() -> int:
        return len([r for r in api.requests_to("GET", "/api/v1/pods$") if "watch" not in r.query])

    monkeypatch.setattr(watch, "_NODES_DELAY", 0.01)
    async with file.running("pools: [{name: a, count: 1}]"):
        for node in ("a-0", "b-0"):
            api.store.create("pods", a_pod(f"web-{node}", nodeName=node))
        await api.until(lambda: phase(api, "web-a-0") == "Running")
        assert lists() == 1
        file.write("pools: [{name: a, count: 1}, {name: b, count: 1}]")
        await api.until(lambda: phase(api, "web-b-0") == "Running")
        assert lists() == 2
        file.write("pools: [{name: a, count: 2}, {name: b, count: 1}]")
        await api.until(lambda: ready(api, "a-1"))
        api.store.create("pods", a_pod("web-a-1", nodeName="a-1"))
        await api.until(lambda: phase(api, "web-a-1") == "Running")
        assert lists() == 2


async def test_each_node_admits_pods_by_itself(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 2, capacity: {cpu: 2, memory: 4Gi, pods: 1}}]"):
        await api.until(lambda: ready(api, "a-0") and ready(api, "a-1"))
        assert api.store.get("nodes", "a-0")["status"]["capacity"] == {"cpu": "2", "memory": "4Gi", "pods": "1"}
        api.store.create("pods", a_pod("first", nodeName="a-0"))
        await api.until(lambda: phase(api, "first") == "Running")
        for name, node in (("second", "a-0"), ("third", "a-1")):
            api.store.create("pods", a_pod(name, nodeName=node))
        await api.until(lambda: phase(api, "second") == "Failed" and phase(api, "third") == "Running")


async def test_nodes_come_and_go_with_the_file(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 1}, {name: b, count: 1}]"):
        await api.until(lambda: ready(api, "a-0") and ready(api, "b-0"))
        file.write("pools: [{name: a")
        file.write("pools: [{name: a, count: 2, labels: {tier: web}}]")
        await api.until(lambda: ready(api, "a-1") and names(api) == ["a-0", "a-1"])
        await api.until(lambda: api.store.find("leases", "b-0", "kube-node-lease") is None)
        await api.until(lambda: api.store.get("nodes", "a-0")["metadata"]["labels"].get("tier") == "web")
    assert ready(api, "a-0") is False  # the nodes stay when the broker stops


async def test_a_pool_made_smaller_while_stopped(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider
) -> None:
    async with running_node(settings_of_a_node(stub.url, node_name="fleet", nodes=2), cluster):
        await api.until(lambda: ready(api, "fleet-0") and ready(api, "fleet-1"))
    async with running_node(settings_of_a_node(stub.url, node_name="fleet", nodes=1), cluster):
        await api.until(lambda: ready(api, "fleet-0") and names(api) == ["fleet-0"])


async def test_nodes_of_others_are_adopted(api: ApiServer, file: FleetFile) -> None:
    file.write("adopt: {kwok.x-k8s.io/node: fake}")
    path_of_kwok = {METRICS_PATH: "/metrics/nodes/theirs/metrics/resource"}
    annotations = {"kwok.x-k8s.io/node": "fake", **path_of_kwok}
    node: dict[str, Any] = {
        "metadata": {"name": "theirs", "annotations": annotations, "labels": {"theirs": "yes"}},
        "spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}]},
        "status": {"capacity": {"cpu": "3", "memory": "4Gi", "pods": "5"}},
    }
    async with file.running() as broker:
        api.store.create("nodes", {"metadata": {"name": "other"}, "spec": {}})
        api.store.create("nodes", node)
        await api.until(lambda: ready(api, "theirs"))
        await api.until(lambda: api.store.find("leases", "theirs", "kube-node-lease"))
        found = api.store.get("nodes", "theirs")
        assert found["status"]["capacity"] == node["status"]["capacity"]
        assert (found["metadata"]["labels"], found["spec"]) == (node["metadata"]["labels"], node["spec"])
        assert found["metadata"]["annotations"] == {**annotations, METRICS_PATH: "/nodes/theirs/metrics/resource"}
        api.store.create("pods", a_pod("web", nodeName="theirs"))
        await api.until(lambda: phase(api, "web") == "Running")
        api.store.delete("pods", "web", "default", {"gracePeriodSeconds": 0})
        api.store.delete("nodes", "theirs")
        await eventually(lambda: "theirs" not in broker.nodes)
    assert names(api) == ["other"]


async def test_an_adopted_node_has_the_latest_capacity_of_its_client(api: ApiServer, file: FleetFile) -> None:
    file.write("adopt: {theirs: 'yes'}")
    metadata = {"name": "theirs", "annotations": {"theirs": "yes"}}
    async with file.running():
        api.store.create("nodes", {"metadata": metadata, "spec": {}, "status": {"capacity": {"cpu": "3"}}})
        await api.until(lambda: "the capacity of the adopted Node has no memory, pods" in messages(api, "theirs"))
        node = api.store.get("nodes", "theirs")
        node["status"] |= {"capacity": {"cpu": "8", "memory": "8Gi", "pods": "20"}, "allocatable": {"cpu": "7"}}
        api.store.update("nodes", node, subresource="status")
        await api.until(lambda: ready(api, "theirs"))
        status = api.store.get("nodes", "theirs")["status"]
        assert status["capacity"] == {"cpu": "8", "memory": "8Gi", "pods": "20"}
        assert status["allocatable"] == {"cpu": "7", "memory": "8Gi", "pods": "20"}


async def test_the_pods_of_a_removed_node_end(api: ApiServer, file: FleetFile, stub: StubProvider) -> None:
    async with file.running("pools: [{name: a, count: 2}]") as broker:
        await api.until(lambda: ready(api, "a-1"))
        api.store.create("pods", a_pod("web", nodeName="a-1"))
        await api.until(lambda: phase(api, "web") == "Running")
        file.write("pools: [{name: a, count: 1}]")
        await api.until(lambda: names(api) == ["a-0"])
        api.store.delete("pods", "web", "default", {"gracePeriodSeconds": 0})  # as Kubernetes does
        await eventually(lambda: stub.requests_to("/deletePod") and "a-1" not in broker.nodes)
        assert names(api) == ["a-0"]


async def test_a_start_delay_is_in_the_payload_alone(api: ApiServer, file: FleetFile, stub: StubProvider) -> None:
    async with file.running("pools: [{name: a, count: 1, startDelay: 2500ms}]"):
        pod = api.store.create("pods", a_pod("web", nodeName="a-0"))
        await api.until(lambda: phase(api, "web") == "Running")
    (request,) = stub.requests_to("/createPod")
    assert request.body["metadata"]["annotations"] == {"synthetic.virtual-kubelet.io/start-delay": "2500ms"}
    assert "annotations" not in pod["metadata"]
