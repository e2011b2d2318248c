"""Two brokers with one node name: one runs the node, the other one waits."""

import asyncio

import pytest

from broker.dependencies import utc_now
from broker.kubelet.health import is_ready, report
from broker.kubernetes.config import ClusterConfig
from broker.node import lease as lease_module
from broker.node.lease import LeaseLost
from broker.runner import Broker
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import running_node, settings_of_a_node
from tests.broker.waiting import eventually
from tests.pods import a_pod
from tests.stub_provider import StubProvider


@pytest.fixture(autouse=True)
def _short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "WAIT_PERIOD", 0.02)


def ready(api: ApiServer) -> tuple[str, str] | None:
    node = api.store.find("nodes", "node") or {}
    conditions = node.get("status", {}).get("conditions") or []
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), None)


def holder(api: ApiServer) -> str | None:
    lease = api.store.find("leases", "node", "kube-node-lease") or {"spec": {}}
    found: str | None = lease["spec"].get("holderIdentity")
    return found


async def test_the_second_broker_stays_out_and_takes_over(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider
) -> None:
    first, second = (settings_of_a_node(stub.url, lease_identity=name) for name in ("first", "second"))
    async with running_node(first, cluster):
        await api.until(lambda: holder(api) == "node_first" and ready(api))
        async with running_node(second, cluster) as waiting:
            await eventually(lambda: waiting.health.waits_for == "node_first")
            assert not is_ready(waiting.health, utc_now())
            assert "node_first" in report(waiting.health, utc_now())
            version = api.store.get("nodes", "node")["metadata"]["resourceVersion"]
            api.store.create("pods", a_pod("web", nodeName="node"))
            await api.until(lambda: api.store.get("pods", "web", "default")["status"].get("phase") == "Running")
            assert len(stub.requests_to("/createPod")) == 1
            assert waiting.health.last_sync is None
            assert api.store.get("nodes", "node")["metadata"]["resourceVersion"] == version
        assert holder(api) == "node_first"
        assert (ready(api) or ("",))[0] == "True"
    assert holder(api) is None
    async with running_node(second, cluster):
        await api.until(lambda: holder(api) == "node_second" and (ready(api) or ("",))[0] == "True")


async def test_a_broker_that_was_replaced_stops(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "PERIOD", 0.1)
    monkeypatch.setattr(lease_module, "_RETRY_LIMIT", 0.2)  # a busy machine takes longer than a period
    node = Broker(settings_of_a_node(stub.url, lease_identity="first"), cluster)
    running = asyncio.create_task(node.run(asyncio.Event()))
    await api.until(lambda: holder(api) == "node_first")
    lease = api.store.get("leases", "node", "kube-node-lease")
    api.store.update("leases", {**lease, "spec": {**lease["spec"], "holderIdentity": "node_second"}})
    with pytest.raises(LeaseLost, match="node_second"):
        await running
    assert holder(api) == "node_second"
    assert (ready(api) or ("",))[0] == "True"
