"""Reports of a provider whose nodes differ."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.node import reporter as module
from broker.node.report import NodeReport
from broker.node.reporter import NodeReporter
from broker.node_info import NodeInfo
from broker.nodes import Nodes
from broker.provider import ProviderClient
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of, running_node, settings_of_a_node
from tests.stub_provider import Reply, Request, StubProvider, Ways, json_reply, providing

GENERAL = {"cpu": "20", "memory": "100Gi", "pods": "500"}
"""The stub's capacity of every node; that of node NAME-N has N pods here."""


async def differ(stub: StubProvider, request: Request) -> Reply:
    """Return capacities by the number of the node."""
    number = request.query.get("node", "").rpartition("-")[2]
    if request.path == "/capacity" and number:
        return json_reply({**GENERAL, "pods": number})
    return await stub.answer(request)


@pytest.fixture
async def stub() -> AsyncIterator[StubProvider]:
    async with providing(Ways(extensions=("nodes",))) as stub:
        stub.override = differ
        yield stub


@pytest.fixture
async def nodes(client: Client, stub: StubProvider) -> AsyncIterator[tuple[Nodes, NodeReporter]]:
    """Three nodes, and the reporter of them."""
    provider = ProviderClient(stub.url)
    nodes = Nodes(NodeInfo(f"node-{number}") for number in range(1, 4))
    dependencies = replace(dependencies_of(client, NodeInfo("fleet"), provider=provider), nodes=nodes)
    yield nodes, NodeReporter(dependencies, own_ip="127.0.0.1")
    await provider.close()


def asked(stub: StubProvider) -> list[str | None]:
    """Return the nodes that the provider was asked for since the last call."""
    names = [request.query.get("node") for request in stub.requests_to("/capacity")]
    stub.requests.clear()
    return names


def pods(report: NodeReport) -> str:
    return report.capacity["pods"]


async def test_nodes_are_asked_for_in_turn(
    nodes: tuple[Nodes, NodeReporter], stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NODES_PER_POLL", 2)
    known, reporter = nodes
    await reporter.poll()
    assert asked(stub) == ["node-1", "node-2"]
    await reporter.poll()
    assert asked(stub)[0] == "node-3"
    assert [pods(reporter.of(name)) for name in known] == ["1", "2", "3"]
    known.add(NodeInfo("node-4"))
    await reporter.read("node-4")  # before its registration
    assert asked(stub) == ["node-4"]
    known.remove("node-4")
    await reporter.poll()
    assert "node-4" not in asked(stub)


async def test_one_failing_node_is_no_outage(nodes: tuple[Nodes, NodeReporter], stub: StubProvider) -> None:
    async def fail_one(stub: StubProvider, request: Request) -> Reply:
        return Reply(503) if request.query.get("node") == "node-2" else await differ(stub, request)

    known, reporter = nodes
    await reporter.poll()
    stub.override = fail_one
    for _ in range(3):
        await reporter.poll()
    assert reporter.ready
    assert [pods(reporter.of(name)) for name in known] == ["1", "2", "3"]
    with stub.failing("/capacity", 503):
        for _ in range(3):
            await reporter.poll()
    assert not reporter.ready


async def test_without_the_extension_nodes_share_one_report(
    nodes: tuple[Nodes, NodeReporter], stub: StubProvider
) -> None:
    stub.ways = Ways()
    known, reporter = nodes
    await reporter.poll()
    await reporter.read("node-3")
    assert asked(stub) == [None]
    assert [dict(reporter.of(name).capacity) for name in known] == [GENERAL] * 3


async def test_a_heartbeat_of_the_provider_changes_nothing(
    nodes: tuple[Nodes, NodeReporter], stub: StubProvider
) -> None:
    heartbeats: list[str] = []

    async def beat(stub: StubProvider, request: Request) -> Reply:
        if request.path == "/nodeConditions":
            heartbeats.append(f"2026-11-28T03:00:{len(heartbeats):02}Z")
            return json_reply([{"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeats[-1]}])
        return await stub.answer(request)

    stub.ways, stub.override = Ways(), beat
    _, reporter = nodes
    await reporter.poll()
    first = reporter.of("node-1")
    await reporter.poll()
    assert len(heartbeats) == 2
    assert reporter.of("node-1") is first


async def test_a_single_node_has_labels_and_taints(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider
) -> None:
    async with running_node(settings_of_a_node(stub.url, node_name="node-5", labels={"zone": "mine"}), cluster):
        await api.until(lambda: api.store.find("nodes", "node-5"))
        node = api.store.get("nodes", "node-5")
    assert node["metadata"]["labels"]["zone"] == "mine"
    assert {"key": "spot", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert node["status"]["capacity"]["pods"] == "5"
    assert node["status"]["allocatable"] == {**GENERAL, "cpu": "19", "pods": "5"}


async def test_what_a_pool_says_wins(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, tmp_path: Path
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "pools: [{name: a, count: 9, capacity: {cpu: 4}, labels: {zone: b},"
        " taints: [{key: spot, value: ours, effect: NoExecute}]}, {name: b, count: 1}]"
    )
    async with running_node(settings_of_a_node(stub.url, fleet=str(path)), cluster):
        await api.until(lambda: api.store.find("nodes", "a-8") and api.store.find("nodes", "b-0"))
        ours, theirs = api.store.get("nodes", "a-8"), api.store.get("nodes", "b-0")
    assert (ours["metadata"]["labels"]["zone"], theirs["metadata"]["labels"]["zone"]) == ("b", "a")
    assert {"key": "spot", "value": "ours", "effect": "NoExecute"} in ours["spec"]["taints"]
    assert {"key": "spot", "effect": "NoSchedule"} not in ours["spec"]["taints"]
    assert ours["status"]["allocatable"] == {**GENERAL, "cpu": "4", "pods": "8"}
    assert theirs["status"]["allocatable"]["cpu"] == "19"


async def test_a_changed_node_is_written(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def move(stub: StubProvider, request: Request) -> Reply:
        moved = json_reply({"labels": {"place": "c"}})
        return moved if request.path == "/node" else await differ(stub, request)

    monkeypatch.setattr(module, "PERIOD", 0.1)
    async with running_node(settings_of_a_node(stub.url, node_name="node-5"), cluster):
        await api.until(lambda: api.store.find("nodes", "node-5"))
        stub.override = move
        await api.until(lambda: api.store.get("nodes", "node-5")["metadata"]["labels"].get("place") == "c")
        await api.until(lambda: api.store.get("nodes", "node-5")["status"]["allocatable"].get("cpu") == "20")
        node = api.store.get("nodes", "node-5")
    assert "zone" not in node["metadata"]["labels"]
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["virtual-kubelet.io/provider"]
