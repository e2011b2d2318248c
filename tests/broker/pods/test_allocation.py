"""Admission, preemption and resizes, between the fake API server and a stub provider."""

from typing import Any

import pytest

from broker.node_info import NodeInfo
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, condition, events, phase, run, status, stored
from tests.pods import a_container
from tests.stub_provider import StubProvider, Ways, providing

Object = dict[str, Any]
CRITICAL = 2_000_000_000


@pytest.fixture(autouse=True)
def node(api: ApiServer, info: NodeInfo) -> None:
    """A node with 4 cpu. It had 8 before, for which the API server admits resizes."""
    info.allocatable = {"cpu": "4", "memory": "100Gi", "pods": "10"}
    before = {**info.allocatable, "cpu": "8"}
    api.store.create("nodes", {"metadata": {"name": info.name}, "spec": {}, "status": {"allocatable": before}})


def requesting(cpu: str, name: str = "web-0", **spec: Any) -> Object:
    """A pod that requests cpu."""
    return bound(name, containers=[a_container(resources={"requests": {"cpu": cpu}})], **spec)


def resize(api: ApiServer, name: str, cpu: str) -> None:
    """Resize a pod, as `kubectl patch --subresource resize` does."""
    pod = stored(api, name)
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu
    api.store.update("pods", pod, subresource="resize")


def cpu_at(stub: StubProvider, name: str) -> str:
    """The requested cpu in the provider's pod."""
    pod = stub.pods[f"default/{name}"]
    cpu: str = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    return cpu


async def test_a_host_port_is_used_once(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    def listening(name: str) -> Object:
        return bound(name, containers=[a_container(ports=[{"containerPort": 80, "hostPort": 9999}])])

    async with controlling(stub):
        await run(api, listening("a"))
        api.store.create("pods", listening("b"))
        await api.until(lambda: phase(api, "b") == "Failed")
        assert status(api, "b")["reason"] == "NodePorts"
        api.store.delete("pods", "a", "default")
        await run(api, listening("c"))


async def test_a_critical_pod_preempts_another(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("1", "small"))
        await run(api, requesting("3", "large"))
        await run(api, requesting("2", "critical", priority=CRITICAL))
        (event,) = await api.until(lambda: events(api, "Preempting"))
    assert phase(api, "small") == "Running"
    ended = status(api, "large")
    assert (ended["phase"], ended["reason"]) == ("Failed", "Preempting")
    assert ended["message"] == event["message"] == "Preempted in order to admit critical pod"
    assert event["involvedObject"]["name"] == "large"
    target = condition(api, "DisruptionTarget", "large")
    assert target
    assert target["reason"] == "TerminationByKubelet"
    assert stub.pods.keys() == {"default/small", "default/critical"}


@pytest.mark.parametrize(("reports_changes", "exit_code"), [(True, 143), (False, 137)])
async def test_a_critical_pod_waits_for_the_end_of_preempted_pods(
    api: ApiServer, controlling: Controlling, reports_changes: bool, exit_code: int
) -> None:
    ways = Ways(extensions=("gracefulDelete",), reports_changes=reports_changes)
    async with providing(ways) as stub, controlling(stub):
        await run(api, requesting("3", "other"))
        api.store.create("pods", requesting("2", "critical", priority=CRITICAL))
        await stub.until(lambda: stub.requests_to("/deletePod"))
        assert phase(api, "other") == "Running"
        assert "default/critical" not in stub.pods
        stub.end("default/other", 143)
        await api.until(lambda: phase(api, "critical") == "Running")
        await api.until(lambda: phase(api, "other") == "Failed")
    ended = status(api, "other")
    assert ended["reason"] == "Preempting"
    assert ended["containerStatuses"][0]["state"]["terminated"]["exitCode"] == exit_code
    assert stub.pods.keys() == {"default/critical"}


async def test_a_critical_pod_beyond_all_pods_fails(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("1", "other"))
        api.store.create("pods", requesting("5", "critical", priority=CRITICAL))
        await api.until(lambda: phase(api, "critical") == "Failed")
    assert status(api, "critical")["reason"] == "UnexpectedAdmissionError"
    assert phase(api, "other") == "Running"


async def test_a_critical_pod_preempts_only_where_it_fits(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("4", "other"))
        api.store.create("pods", requesting("1", "critical", priority=CRITICAL, nodeSelector={"zone": "b"}))
        await api.until(lambda: phase(api, "critical") == "Failed")
    assert status(api, "critical")["reason"] == "NodeAffinity"
    assert phase(api, "other") == "Running"


async def test_a_resize_waits_for_room(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    async with controlling(stub):
        await run(api, requesting("2", "big"))
        await run(api, requesting("1", "grow"))
        resize(api, "grow", "3")
        pending = await api.until(lambda: condition(api, "PodResizePending", "grow"))
        assert pending["reason"] == "Deferred"
        assert pending["message"] == (
            "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
        )
        assert pending["observedGeneration"] == 2
        (event,) = await api.until(lambda: events(api, "ResizeDeferred"))
        assert event["message"].startswith('Pod resize Deferred: {"containers":[{"name":"web",')
        assert cpu_at(stub, "grow") == "1"
        await run(api, requesting("1", "fits"))
        api.store.delete("pods", "big", "default")
        await stub.until(lambda: cpu_at(stub, "grow") == "3")
        await api.until(lambda: condition(api, "PodResizePending", "grow") is None)
        await api.until(lambda: events(api, "ResizeStarted"))
        api.store.create("pods", requesting("1", "beyond"))
        await api.until(lambda: phase(api, "beyond") == "Failed")


async def test_a_completed_resize_is_an_event(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("1"))
        before = stub.statuses["default/web-0"]
        progress = {"type": "PodResizeInProgress", "status": "True"}
        stub.report("default/web-0", {**before, "conditions": [*before["conditions"], progress]})
        await api.until(lambda: condition(api, "PodResizeInProgress"))
        assert not events(api, "ResizeCompleted")
        stub.report("default/web-0", before)
        (event,) = await api.until(lambda: events(api, "ResizeCompleted"))
        assert event["message"].startswith('Pod resize completed: {"containers":[{"name":"web",')
        assert condition(api, "PodResizeInProgress") is None


async def test_a_resized_critical_pod_preempts_another(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("3", "other"))
        await run(api, requesting("1", "critical", priority=CRITICAL))
        resize(api, "critical", "2")
        await stub.until(lambda: cpu_at(stub, "critical") == "2")
        await api.until(lambda: phase(api, "other") == "Failed")
    assert status(api, "other")["reason"] == "Preempting"


async def test_a_resize_beyond_the_node_is_infeasible(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("1"))
        resize(api, "web-0", "5")
        pending = await api.until(lambda: condition(api, "PodResizePending"))
        assert pending["reason"] == "Infeasible"
        assert pending["message"] == "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
        await api.until(lambda: events(api, "ResizeInfeasible"))
        resize(api, "web-0", "1")
        await api.until(lambda: condition(api, "PodResizePending") is None)
        assert cpu_at(stub, "web-0") == "1"
        resize(api, "web-0", "4")
        await stub.until(lambda: cpu_at(stub, "web-0") == "4")


async def test_a_smaller_pod_makes_room_for_a_resize(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("2", "a"))
        await run(api, requesting("2", "b"))
        resize(api, "a", "3")
        await api.until(lambda: condition(api, "PodResizePending", "a"))
        resize(api, "b", "1")
        await stub.until(lambda: (cpu_at(stub, "a"), cpu_at(stub, "b")) == ("3", "1"))


async def test_a_deferred_resize_survives_a_restart(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, requesting("2", "big"))
        await run(api, requesting("1", "grow"))
        resize(api, "grow", "3")
        before = await api.until(lambda: condition(api, "PodResizePending", "grow"))
        await api.until(lambda: events(api, "ResizeDeferred"))
    async with controlling(stub):
        await run(api, requesting("1", "fits"))
        pending = condition(api, "PodResizePending", "grow")
        assert pending
        assert pending == {**before, "message": pending["message"]}  # of what is used
        assert cpu_at(stub, "grow") == "1"
        api.store.delete("pods", "big", "default")
        await stub.until(lambda: cpu_at(stub, "grow") == "3")
    assert len(events(api, "ResizeDeferred")) == 1


@pytest.mark.parametrize("of", ["a pending resize", "a pending pod"])
async def test_nothing_is_decided_before_the_provider_answers(
    api: ApiServer, stub: StubProvider, controlling: Controlling, info: NodeInfo, of: str
) -> None:
    async with controlling(stub):
        await run(api, requesting("2", "big"))
        await run(api, requesting("1", "grow"))
        if of == "a pending resize":
            resize(api, "grow", "3")
            await api.until(lambda: condition(api, "PodResizePending", "grow"))
    if of == "a pending pod":
        pending = stored(api, "grow")
        pending["status"]["phase"] = "Pending"
        api.store.update("pods", pending, subresource="status")
        info.taints = [{"key": "maintenance", "effect": "NoExecute"}]
        info.measured_pressures = {"MemoryPressure": True}
    with stub.failing("/getPods$", 503) as fault:
        async with controlling(stub):
            await stub.until(lambda: fault.met > 1)
            assert phase(api, "grow") != "Failed"
            assert cpu_at(stub, "grow") == "1"


async def test_a_resize_in_progress_is_the_providers(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    in_progress = {"type": "PodResizeInProgress", "status": "True", "lastTransitionTime": "2026-11-22T08:46:38Z"}
    async with controlling(stub):
        await run(api, requesting("1"))
        resize(api, "web-0", "2")
        await stub.until(lambda: cpu_at(stub, "web-0") == "2")
        running = stub.statuses["default/web-0"]
        stub.report("default/web-0", {**running, "conditions": [*running["conditions"], in_progress]})
        await api.until(lambda: condition(api, "PodResizeInProgress"))
        stub.report("default/web-0", running)
        await api.until(lambda: condition(api, "PodResizeInProgress") is None)
