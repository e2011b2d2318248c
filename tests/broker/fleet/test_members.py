"""Nodes of a fleet beside those of others, other brokers, and changes of the mind."""

import asyncio
from typing import Any

import pytest

from broker.fleet import removal
from broker.fleet.removal import CORDON
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.node import lease as lease_module
from broker.pods import workqueue
from broker.types import Object
from tests.broker.apiserver import ApiServer
from tests.broker.fleet.conftest import FleetFile
from tests.broker.fleet.stored import names, phase, ready
from tests.broker.nodes import running_node, settings_of_a_node
from tests.broker.pods.conftest import condition
from tests.broker.waiting import eventually
from tests.pods import a_container, a_pod
from tests.stub_provider import StubProvider

FLEET = {"fleet.virtual-kubelet.io/name": "fleet"}
THEIRS: dict[str, Any] = {
    "metadata": {"name": "theirs", "annotations": {"kwok.x-k8s.io/node": "fake"}},
    "spec": {},
    "status": {"capacity": {"cpu": "3", "memory": "4Gi", "pods": "5"}},
}


def cordon(api: ApiServer, name: str) -> tuple[bool, bool]:
    node = api.store.get("nodes", name)
    return bool(node["spec"].get("unschedulable")), CORDON in (node["metadata"].get("annotations") or {})


async def test_nodes_of_others_with_pool_names_stay(api: ApiServer, file: FleetFile) -> None:
    others = [
        api.store.create("nodes", {"metadata": {"name": f"a-{number}", "labels": {"theirs": "yes"}}, "spec": {}})
        for number in range(8)
    ]
    async with file.running("pools: [{name: a, count: 9}]"):
        await api.until(lambda: ready(api, "a-8"))
        file.write("pools: [{name: a, count: 0}]")
        await api.until(lambda: "a-8" not in names(api))
    assert [api.store.get("nodes", other["metadata"]["name"]) for other in others] == others


async def test_a_node_whose_creation_is_unanswered_is_removed(
    api: ApiServer, file: FleetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Client.create

    async def unanswered(client: Client, path: str, body: Object) -> Object:
        answer = await create(client, path, body)
        if answer["kind"] == "Node" and answer["metadata"]["name"] == "a-1":
            await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(Client, "create", unanswered)
    async with file.running("pools: [{name: a, count: 2}]"):
        await api.until(lambda: ready(api, "a-0") and "a-1" in names(api))
        file.write("pools: [{name: a, count: 1}]")
        await api.until(lambda: names(api) == ["a-0"])


async def test_a_lease_that_is_being_created_is_removed(
    api: ApiServer, file: FleetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, resume, creations = Client.create, asyncio.Event(), list[asyncio.Task[Object]]()

    async def late(client: Client, path: str, body: Object) -> Object:
        await resume.wait()
        return await create(client, path, body)

    async def carried_out(client: Client, path: str, body: Object) -> Object:
        if (body["kind"], body["metadata"]["name"]) != ("Lease", "a-0"):
            return await create(client, path, body)
        creations.append(asyncio.create_task(late(client, path, body)))
        return await asyncio.shield(creations[0])  # the API server does not notice that the client has gone

    monkeypatch.setattr(Client, "create", carried_out)
    async with file.running("pools: [{name: a, count: 1}, {name: b, count: 1}]") as broker:
        await eventually(lambda: creations and "b-0" in broker.nodes and broker.nodes["b-0"].holds_lease)
        file.write("pools: []")
        await eventually(lambda: "b-0" not in broker.nodes)  # a-0 is no later, unless it waits
        resume.set()
        await creations[0]
        await eventually(lambda: not broker.nodes)
    assert (api.store.list("leases"), names(api)) == ([], [])


async def test_a_lost_lease_gives_up_its_node_only(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "PERIOD", 0.1)
    monkeypatch.setattr(lease_module, "_RETRY_LIMIT", 0.2)  # a busy machine takes longer than a period
    monkeypatch.setattr(lease_module, "WAIT_PERIOD", 0.02)
    async with running_node(settings_of_a_node(stub.url, node_name="fleet", nodes=2), cluster) as broker:
        await eventually(lambda: [node.holds_lease for node in broker.nodes.values()] == [True, True])
        lease = api.store.get("leases", "fleet-0", "kube-node-lease")
        api.store.update("leases", {**lease, "spec": {**lease["spec"], "holderIdentity": "other"}})
        await eventually(lambda: not broker.nodes["fleet-0"].holds_lease)
        api.store.create("pods", a_pod("web", nodeName="fleet-1"))
        await api.until(lambda: phase(api, "web") == "Running")
        lease = api.store.get("leases", "fleet-0", "kube-node-lease")
        assert lease["spec"]["holderIdentity"] == "other"
        api.store.update("leases", {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        await eventually(lambda: broker.nodes["fleet-0"].holds_lease)


async def test_statuses_are_written_when_an_outage_ends(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workqueue, "_SHORTEST_DELAY", 300.0)  # after an outage of some minutes
    monkeypatch.setattr(lease_module, "PERIOD", 0.2)
    monkeypatch.setattr(lease_module, "_RETRY_LIMIT", 0.2)
    monkeypatch.setattr(lease_module, "LATE", 0.0)
    async with running_node(settings_of_a_node(stub.url), cluster):
        await api.until(lambda: ready(api, "node"))
        with (
            api.failing(503, reason="ServiceUnavailable", path="/pods/web/status") as outage,
            api.failing(503, reason="ServiceUnavailable", path="/leases/"),
        ):
            api.store.create("pods", a_pod("web", nodeName="node"))
            await eventually(lambda: outage.met)
        await api.until(lambda: phase(api, "web") == "Running")


async def test_an_adopted_node_comes_back_under_its_pods(api: ApiServer, file: FleetFile) -> None:
    async with file.running("adopt: {kwok.x-k8s.io/node: fake}"):
        api.store.create("nodes", THEIRS)
        await api.until(lambda: ready(api, "theirs"))
        api.store.create("pods", a_pod("web", nodeName="theirs"))
        await api.until(lambda: phase(api, "web") == "Running")
        api.store.delete("nodes", "theirs")
        api.store.delete("leases", "theirs", "kube-node-lease")
        api.store.create("nodes", THEIRS)
        await api.until(lambda: api.store.find("leases", "theirs", "kube-node-lease") and ready(api, "theirs"))
    assert phase(api, "web") == "Running"


async def test_a_drain_is_called_off(api: ApiServer, file: FleetFile) -> None:
    async with file.running("pools: [{name: a, count: 1, drain: true}]"):
        await api.until(lambda: ready(api, "a-0"))
        uid = api.store.get("nodes", "a-0")["metadata"]["uid"]
        api.store.create("pods", a_pod("web", nodeName="a-0"))
        await api.until(lambda: phase(api, "web") == "Running")
        with api.failing(429, reason="TooManyRequests", path="eviction"):
            file.write("pools: []")
            await api.until(lambda: cordon(api, "a-0") == (True, True))
            file.write("pools: [{name: a, count: 1, drain: true}]")
            await api.until(lambda: cordon(api, "a-0") == (False, False))
    assert api.store.get("nodes", "a-0")["metadata"]["uid"] == uid


async def test_pods_that_come_to_a_cordoned_node_stay(
    api: ApiServer, file: FleetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_SETTLING", 0.0)
    async with file.running("pools: [{name: a, count: 1, drain: true}]"):
        await api.until(lambda: ready(api, "a-0"))
        api.store.create("pods", a_pod("first", nodeName="a-0"))
        await api.until(lambda: phase(api, "first") == "Running")
        with api.failing(429, reason="TooManyRequests", path="eviction"):
            file.write("pools: []")
            await api.until(lambda: api.requests_to("POST", "eviction"))
            api.store.create("pods", a_pod("tolerant", nodeName="a-0"))
            await api.until(lambda: phase(api, "tolerant") == "Running")
        await api.until(lambda: names(api) == [])
    evicted = {request.path.split("/")[-2] for request in api.requests_to("POST", "eviction")}
    assert evicted == {"first"}
    assert phase(api, "tolerant") == "Running"  # until the garbage collector deletes it


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_cordon_by_an_earlier_broker_is_undone(api: ApiServer, file: FleetFile, is_own: bool) -> None:
    annotations = {CORDON: "true"} if is_own else {}
    metadata = {"name": "a-0", "labels": FLEET, "annotations": annotations}
    api.store.create("nodes", {"metadata": metadata, "spec": {"unschedulable": True}})
    async with file.running("pools: [{name: a, count: 1}]"):
        await api.until(lambda: ready(api, "a-0") and cordon(api, "a-0") == (not is_own, False))


async def test_drain_is_kept_true_on_the_node(api: ApiServer, file: FleetFile) -> None:
    def drain() -> str | None:
        labels: dict[str, str] = api.store.get("nodes", "a-0")["metadata"]["labels"]
        return labels.get("fleet.virtual-kubelet.io/drain")

    async with file.running("pools: [{name: a, count: 1, drain: true}]"):
        await api.until(lambda: ready(api, "a-0") and drain() == "true")
    async with file.running("pools: [{name: a, count: 1, drain: false}]"):
        await api.until(lambda: ready(api, "a-0") and drain() is None)


async def test_a_larger_capacity_grants_deferred_resizes(
    api: ApiServer, file: FleetFile, stub: StubProvider
) -> None:
    def resized(name: str) -> str:
        pod: dict[str, Any] = stub.pods[f"default/{name}"]
        return str(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"])

    async with file.running('pools: [{name: a, count: 1, capacity: {cpu: "3", pods: "9"}}]'):
        await api.until(lambda: ready(api, "a-0"))
        for name in ("stays", "grows"):
            containers = [a_container(resources={"requests": {"cpu": "1"}})]
            api.store.create("pods", a_pod(name, nodeName="a-0", containers=containers))
        await api.until(lambda: phase(api, "stays") == phase(api, "grows") == "Running")
        pod = api.store.get("pods", "grows", "default")
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "3"
        api.store.update("pods", pod, subresource="resize")
        await api.until(lambda: condition(api, "PodResizePending", "grows"))
        file.write('pools: [{name: a, count: 1, capacity: {cpu: "4", pods: "9"}}]')
        await stub.until(lambda: resized("grows") == "3")
        await api.until(lambda: condition(api, "PodResizePending", "grows") is None)
        assert resized("stays") == "1"


async def test_an_emptied_file_changes_nothing(
    api: ApiServer, file: FleetFile, capsys: pytest.CaptureFixture[str]
) -> None:
    async with file.running("pools: [{name: a, count: 1}]") as broker:
        await api.until(lambda: ready(api, "a-0"))
        file.write("")
        await eventually(lambda: "pools or adopt must be set" in capsys.readouterr().out)
        assert list(broker.nodes) == ["a-0"]
        file.path.unlink()
        await eventually(lambda: "cannot be read" in capsys.readouterr().out)
    assert names(api) == ["a-0"]
