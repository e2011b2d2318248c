"""Room on a node that is full to the last core: ended pods give it back, new pods wait for those that leave."""

from typing import Any

import pytest

from broker.node_info import NodeInfo
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, Object, bound, phase, run, status, stored
from tests.pods import a_container
from tests.stub_provider import StubProvider, Ways, providing

CORES = 4


@pytest.fixture(autouse=True)
def node(info: NodeInfo) -> None:
    """A node of four cores."""
    info.allocatable = {"cpu": str(CORES), "pods": "10"}


def needing(name: str, cores: int = CORES, **spec: Any) -> Object:
    """A pod that needs cores; all of the node's by default."""
    container = a_container(resources={"requests": {"cpu": str(cores)}})
    return bound(name, containers=[container], restartPolicy="Never", **spec)


async def test_a_completed_pod_gives_its_room_back(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, needing("first"))
        stub.report("default/first", {"phase": "Succeeded"})
        await api.until(lambda: phase(api, "first") == "Succeeded")
        await run(api, needing("second"))


async def test_room_is_free_before_the_status_is_written(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, needing("first"))
        with api.failing(500, method="PATCH", path="/first/status"):
            stub.report("default/first", {"phase": "Succeeded"})
            await api.until(lambda: len(api.requests_to("PATCH", "/first/status")) > 1)
            await run(api, needing("second"))


async def test_a_pod_waits_for_a_terminating_pod(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(deletes_slowly=True, reports_changes=True)) as stub, controlling(stub):
        await run(api, needing("victim"))
        api.store.delete("pods", "victim", "default")
        api.store.create("pods", needing("preemptor"))
        api.store.create("pods", needing("excess", CORES + 1))
        await api.until(lambda: phase(api, "excess") == "Failed")
        assert phase(api, "preemptor") == "Pending"
        assert [request.body["metadata"]["name"] for request in stub.requests_to("/createPod")] == ["victim"]
        stub.report("default/victim", {"phase": "Failed"})
        await api.until(lambda: phase(api, "preemptor") == "Running")
    assert status(api, "excess")["reason"] == "OutOfcpu"


async def test_a_pod_waits_for_a_force_deleted_pod(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, needing("victim"))
        with stub.failing("/deletePod", 503):
            api.store.delete("pods", "victim", "default", {"gracePeriodSeconds": 0})
            api.store.create("pods", needing("preemptor"))
            await stub.until(lambda: len(stub.requests_to("/deletePod")) > 3)
            assert phase(api, "preemptor") == "Pending"
        await api.until(lambda: phase(api, "preemptor") == "Running")


async def test_a_finalizer_holds_no_room(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    async with controlling(stub):
        await run(api, needing("first", metadata={"finalizers": ["batch.kubernetes.io/job-tracking"]}))
        api.store.delete("pods", "first", "default")
        await api.until(lambda: phase(api, "first") == "Failed")
        await run(api, needing("second"))
        assert phase(api, "first") == "Failed"


async def test_a_late_event_counts_no_ended_pod(api: ApiServer, controlling: Controlling) -> None:
    async with providing(Ways(reports_changes=True)) as stub, controlling(stub):
        await run(api, needing("first"))
        with api.failing(500, method="PATCH", path="/first/status"):
            stub.report("default/first", {"phase": "Succeeded"})
            await api.until(lambda: len(api.requests_to("PATCH", "/first/status")) > 1)
            pod = stored(api, "first")
            pod["metadata"].setdefault("labels", {})["late"] = "yes"
            api.store.update("pods", pod)
            patches = len(api.requests_to("PATCH", "/first/status"))
            await api.until(lambda: len(api.requests_to("PATCH", "/first/status")) > patches)
        await api.until(lambda: phase(api, "first") == "Succeeded")
        await run(api, needing("second"))
