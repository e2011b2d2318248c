"""Eviction of pods under pressure, between the fake API server and a stub provider."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from broker.dependencies import Clock, utc_now
from broker.errors import ProviderUnavailable
from broker.kubernetes.client import Client
from broker.node_info import NodeInfo
from broker.pods import eviction
from broker.pods.accounting import Claims
from broker.pods.allocation import Allocator
from broker.pods.events import EventRecorder
from broker.pods.eviction import EvictionManager
from broker.pods.pressure import MEMORY, NodeUsage, PodUsage
from broker.pods.store import PodStore
from broker.pods.workqueue import WorkQueue
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of, settings_of_a_node
from tests.broker.pods.conftest import Controlling, bound, condition, events, phase, status
from tests.broker.waiting import eventually
from tests.stub_provider import StubProvider

MI = 1024 * 1024
HARD = {"eviction_hard": {"memory.available": "100Mi"}}
CRITICAL = 2_000_000_000


class Meter:
    """Reader of usage that returns what the test has it return, one value for each read.

    Attributes:
        reads: number of reads that have begun.
    """

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._values: asyncio.Queue[NodeUsage] = asyncio.Queue()
        self.reads = 0

    async def __call__(self) -> NodeUsage:
        self.reads += 1
        return await self._values.get()

    def show(self, **used: int) -> None:
        """Return this usage in MiB, by name of the pod, from the next read."""
        pods = {
            self._api.store.get("pods", name, "default")["metadata"]["uid"]: PodUsage(
                {MEMORY: amount * MI}, {"web": amount * MI}
            )
            for name, amount in used.items()
        }
        self._values.put_nowait(NodeUsage(sum(used.values()) * MI, pods))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for interval in ("_INTERVAL", "_CLEANUP_INTERVAL"):
        monkeypatch.setattr(eviction, interval, 0.01)


@pytest.fixture
def meter(api: ApiServer, info: NodeInfo) -> Meter:
    info.capacity = info.allocatable = {"cpu": "20", "memory": "1000Mi", "pods": "100"}
    return Meter(api)


async def test_the_first_pod_in_the_order_is_evicted(
    api: ApiServer, stub: StubProvider, controlling: Controlling, meter: Meter, info: NodeInfo
) -> None:
    async with controlling(stub, usage=meter, **HARD):
        await run(api, "small", "large")
        meter.show(small=10, large=950)
        await api.until(lambda: phase(api, "large") == "Failed" and len(events(api, "Evicted")) > 0)
        found = status(api, "large")
        message = (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 40Mi. "
            "Container web was using 950Mi, request is 0, has larger consumption of memory. "
        )
        assert (found["reason"], found["message"]) == ("Evicted", message)
        disruption = condition(api, "DisruptionTarget", "large")
        assert disruption is not None
        assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
        assert disruption["message"] == message
        (deletion,) = stub.requests_to("/deletePod")
        assert deletion.pod["metadata"]["deletionGracePeriodSeconds"] == 1
        await eventually(lambda: meter.reads == 2)
        assert phase(api, "small") == "Running"
        assert info.pressures == {"MemoryPressure": True}
        assert info.evictions == {"memory.available": 1}
        await api.until(lambda: events(api, "NodeHasInsufficientMemory"))
    (event,) = events(api, "EvictionThresholdMet")
    assert event["involvedObject"]["kind"] == "Node"
    assert event["message"] == "Attempting to reclaim memory"


async def test_one_pod_ends_in_each_round(
    api: ApiServer, stub: StubProvider, controlling: Controlling, meter: Meter
) -> None:
    async with controlling(stub, usage=meter, **HARD):
        await run(api, "a", "b", "c")
        meter.show(a=300, b=400, c=500)
        await eventually(lambda: meter.reads == 2)
        assert [phase(api, name) for name in "abc"] == ["Running", "Running", "Failed"]
        meter.show(a=600, b=400)
        await eventually(lambda: meter.reads == 3)
        assert [phase(api, name) for name in "abc"] == ["Failed", "Running", "Failed"]
        meter.show(b=400)
        await eventually(lambda: meter.reads == 4)
        assert phase(api, "b") == "Running"


async def test_a_critical_pod_is_not_evicted(
    api: ApiServer, stub: StubProvider, controlling: Controlling, meter: Meter
) -> None:
    async with controlling(stub, usage=meter, **HARD):
        await run(api, "critical", priority=CRITICAL)
        meter.show(critical=990)
        await eventually(lambda: meter.reads == 2)
        assert phase(api, "critical") == "Running"
        assert stub.requests_to("/deletePod") == []


async def test_a_node_under_pressure_rejects_new_pods(
    api: ApiServer, stub: StubProvider, controlling: Controlling, meter: Meter
) -> None:
    async with controlling(stub, usage=meter, **HARD):
        await run(api, "critical", priority=CRITICAL)
        meter.show(critical=990)
        await eventually(lambda: meter.reads == 2)
        api.store.create("pods", bound("late"))
        await api.until(lambda: phase(api, "late") == "Failed")
    found = status(api, "late")
    assert found["reason"] == "Evicted"
    assert found["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    assert condition(api, "DisruptionTarget", "late") is None


async def test_a_pressure_holds_for_the_transition_period(client: Client, info: NodeInfo) -> None:
    now, used = utc_now(), 950
    manager = manager_of(client, info, clock=lambda: now, used=lambda: used)
    await manager.synchronize()
    assert info.pressures == {"MemoryPressure": True}
    used, now = 0, now + timedelta(seconds=299)
    await manager.synchronize()
    assert info.pressures == {"MemoryPressure": True}
    now += timedelta(seconds=1)
    await manager.synchronize()
    assert info.pressures == {"MemoryPressure": False}


async def test_unread_usage_changes_no_pressure(client: Client, info: NodeInfo) -> None:
    used: int | None = 950
    manager = manager_of(client, info, clock=utc_now, used=lambda: used)
    await manager.synchronize()
    used = None
    await manager.synchronize()
    assert info.pressures == {"MemoryPressure": True}


async def run(api: ApiServer, *names: str, **spec: Any) -> None:
    """Create pods and wait until they run."""
    for name in names:
        api.store.create("pods", bound(name, **spec))
    await api.until(lambda: all(phase(api, name) == "Running" for name in names))


def manager_of(client: Client, info: NodeInfo, *, clock: Clock, used: Callable[[], int | None]) -> EvictionManager:
    """Return a manager of a node without pods whose usage is `used` MiB; None: it cannot be read."""
    info.capacity = {"memory": "1000Mi"}
    settings = settings_of_a_node("http://127.0.0.1:1", **HARD)
    dependencies = dependencies_of(client, info, settings=settings, clock=clock)
    store, events = PodStore(), EventRecorder(dependencies)
    allocator = Allocator(dependencies, info, claims=Claims(), store=store, queue=WorkQueue(), events=events)

    async def read() -> NodeUsage:
        if (amount := used()) is None:
            raise ProviderUnavailable("down")
        return NodeUsage(amount * MI, {})

    return EvictionManager(dependencies, info, store=store, allocator=allocator, events=events, usage=read)
