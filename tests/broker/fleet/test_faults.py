"""Faults by annotations of Nodes: a running broker, with the fake API server and a stub provider."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.fleet import member
from broker.kubernetes.config import ClusterConfig
from broker.node import lease
from tests.broker.apiserver import ApiServer
from tests.broker.fleet.stored import phase
from tests.broker.nodes import running_node, settings_of_a_node
from tests.broker.waiting import eventually
from tests.pods import a_pod
from tests.stub_provider import StubProvider

DOMAIN = "fault.virtual-kubelet.io"


@pytest.fixture(autouse=True)
async def _nodes(
    api: ApiServer, cluster: ClusterConfig, stub: StubProvider, *, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """The nodes spot-0 and spot-1, whose leases are renewed often."""
    monkeypatch.setattr(lease, "PERIOD", 0.1)
    monkeypatch.setattr(lease, "_RETRY_LIMIT", 0.2)  # a busy machine takes longer than a period
    monkeypatch.setattr(member, "PERIOD", 0.1)
    async with running_node(settings_of_a_node(stub.url, node_name="spot", nodes=2), cluster):
        await api.until(lambda: is_ready(api) and is_ready(api, "spot-1"))
        yield


def condition(api: ApiServer, type_: str, name: str = "spot-0") -> tuple[str, str] | None:
    """Return status and reason of a condition."""
    node = api.store.find("nodes", name) or {}
    conditions = {c["type"]: c for c in node.get("status", {}).get("conditions") or ()}
    return (conditions[type_]["status"], conditions[type_]["reason"]) if type_ in conditions else None


def is_ready(api: ApiServer, name: str = "spot-0") -> bool:
    return (condition(api, "Ready", name) or ("",))[0] == "True"


def annotate(api: ApiServer, *, name: str = "spot-0", **faults: str | None) -> None:
    """Set or remove annotations of a Node, as `kubectl annotate` does."""
    node = api.store.get("nodes", name)
    annotations = {**(node["metadata"].get("annotations") or {})}
    annotations |= {f"{DOMAIN}/{key.replace('_', '-')}": value for key, value in faults.items()}
    node["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
    api.store.update("nodes", node)


def renewals(api: ApiServer, name: str) -> int:
    return len(api.requests_to("PUT", f"/leases/{name}$"))


async def run_pod(api: ApiServer, name: str, node: str = "spot-0", **spec: Any) -> None:
    api.store.create("pods", a_pod(name, nodeName=node, **spec))
    await api.until(lambda: phase(api, name) == "Running")


async def test_a_node_is_not_ready_by_an_annotation(api: ApiServer) -> None:
    annotate(api, not_ready="the disk is broken")
    await api.until(lambda: condition(api, "Ready") == ("False", "NodeFault"))
    assert is_ready(api, "spot-1")
    annotate(api, not_ready=None)
    await api.until(lambda: is_ready(api))


async def test_a_pressure_lasts_as_long_as_its_annotation(api: ApiServer) -> None:
    annotate(api, pressure="memory,pid")
    await api.until(lambda: condition(api, "MemoryPressure") == ("True", "KubeletHasInsufficientMemory"))
    assert condition(api, "PIDPressure") == ("True", "KubeletHasInsufficientPID")
    annotate(api, pressure="memory,cpu")  # invalid: no effect
    await api.until(lambda: (condition(api, "MemoryPressure") or ("False",))[0] == "False")


async def test_a_partitioned_node_writes_nothing(api: ApiServer, stub: StubProvider) -> None:
    await run_pod(api, "web-0")
    await run_pod(api, "web-1", "spot-1")
    annotate(api, partition="true")
    before = renewals(api, "spot-1")
    await api.until(lambda: renewals(api, "spot-1") >= before + 2)  # a renewal that was under way has ended
    api.requests.clear()
    pod = api.store.get("pods", "web-0", "default")
    api.store.delete("pods", "web-0", "default")  # as by the taint manager: with a grace period
    annotate(api, name="spot-0", not_ready="ignored")
    await api.until(lambda: renewals(api, "spot-1") >= 10)
    written = [r.path for method in ("PUT", "PATCH", "DELETE", "POST") for r in api.requests_to(method)]
    assert not [path for path in written if "spot-0" in path or "web-0" in path]
    assert stub.requests_to("/deletePod") == []  # the pod goes on
    assert api.store.get("pods", "web-0", "default")["metadata"]["uid"] == pod["metadata"]["uid"]
    annotate(api, partition=None, not_ready=None)
    await api.until(lambda: renewals(api, "spot-0") and phase(api, "web-0") is None)
    assert len(stub.requests_to("/deletePod")) == 1
    assert phase(api, "web-1") == "Running"


async def test_unknown_conditions_are_restored_after_a_partition(api: ApiServer) -> None:
    annotate(api, partition="true")
    node = api.store.get("nodes", "spot-0")
    for each in node["status"]["conditions"]:
        each.update(status="Unknown", reason="NodeStatusUnknown")
    api.store.update("nodes", node, subresource="status")
    annotate(api, partition=None)
    await api.until(lambda: is_ready(api))


async def test_a_vanished_node_returns_when_it_is_created(api: ApiServer) -> None:
    await run_pod(api, "web-0")
    annotate(api, vanish="true")
    api.store.delete("nodes", "spot-0")
    api.requests.clear()
    await api.until(lambda: renewals(api, "spot-1") >= 3)  # a renewal that was under way has ended
    api.store.delete("leases", "spot-0", "kube-node-lease")  # as by the garbage collector
    api.requests.clear()
    await api.until(lambda: renewals(api, "spot-1") >= 10)
    assert api.store.find("nodes", "spot-0") is None
    assert api.store.find("leases", "spot-0", "kube-node-lease") is None
    api.store.create("nodes", {"metadata": {"name": "spot-0"}, "spec": {}})
    await api.until(lambda: is_ready(api))
    await api.until(lambda: api.store.find("leases", "spot-0", "kube-node-lease") is not None)
    node = api.store.get("nodes", "spot-0")
    assert node["metadata"]["labels"]["type"] == "virtual-kubelet"
    assert node["status"]["capacity"]["pods"]


async def test_a_deleted_node_without_the_annotation_returns(api: ApiServer) -> None:
    api.store.delete("nodes", "spot-0")
    await api.until(lambda: is_ready(api))


SLOW = {"synthetic.virtual-kubelet.io/start-delay-factor": "5"}


def sent(stub: StubProvider, name: str) -> dict[str, str]:
    """Return the annotations that the provider was last sent for a pod."""
    bodies = [r.body for path in ("/createPod", "/updatePod") for r in stub.requests_to(path)]
    (*_, last) = [body["metadata"] for body in bodies if body["metadata"]["name"] == name]
    return last.get("annotations") or {}


async def test_new_pods_are_sent_with_the_faults(api: ApiServer, stub: StubProvider) -> None:
    await run_pod(api, "old", metadata={"creationTimestamp": "2026-11-22T08:46:38Z"})
    annotate(api, slow="5", slow_since="2026-01-01T00:00:00Z", fail="OOMKilled", fail_since="2999-01-01T00:00:00Z")
    await run_pod(api, "new")
    await run_pod(api, "elsewhere", "spot-1")
    await eventually(lambda: sent(stub, "new") == SLOW)
    assert sent(stub, "elsewhere") == {}
    assert not (api.store.get("pods", "new", "default")["metadata"].get("annotations"))
    annotate(api, slow=None)
    await eventually(lambda: sent(stub, "new") == {})  # the recovery is an update


async def test_a_recovery_while_a_status_is_written_is_sent(api: ApiServer, stub: StubProvider) -> None:
    annotate(api, slow="5", slow_since="2026-01-01T00:00:00Z")
    await run_pod(api, "other")
    await eventually(lambda: sent(stub, "other") == SLOW)
    with api.hanging(method="PATCH", path="/pods/new/status"):
        api.store.create("pods", a_pod("new", nodeName="spot-0"))
        await api.until(lambda: api.requests_to("PATCH", "/pods/new/status"))
        annotate(api, slow=None)
        await eventually(lambda: sent(stub, "other") == {})
        assert sent(stub, "new") == SLOW
    await eventually(lambda: sent(stub, "new") == {})
