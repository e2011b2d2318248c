"""Thresholds of the node's resources, and the order in which pods are evicted."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.node_info import NodeInfo
from broker.pods.preemption import Candidate
from broker.pods.pressure import (
    DISK,
    MEMORY,
    PIDS,
    Available,
    NodeUsage,
    PodUsage,
    Shortage,
    Threshold,
    eviction_message,
    eviction_order,
    parse_thresholds,
    rejection_under_pressure,
)
from tests.pods import a_container, a_pod

MI = 1024 * 1024
CAPACITY = {MEMORY: Decimal(1000 * MI), DISK: Decimal(1000), PIDS: Decimal(100)}
CRITICAL = 2_000_000_000


def pod(name: str, *, priority: int | None = None, request: int = 0) -> Candidate:
    """A running pod with a memory request."""
    return Candidate(f"default/{name}", name, "Burstable", priority, {MEMORY: Decimal(request)})


def using(resource: str = MEMORY, /, **used: int) -> NodeUsage:
    """The usage of pods by UID, beside a broker that uses nothing."""
    return NodeUsage(sum(used.values()), {uid: PodUsage({resource: amount}) for uid, amount in used.items()})


def order(pods: list[Candidate], usage: NodeUsage, resource: str = MEMORY) -> list[str]:
    return [candidate.uid for candidate in eviction_order(resource, pods, usage)]


def test_pods_above_their_requests_go_first() -> None:
    pods = [pod("frugal", priority=-5, request=10), pod("greedy", priority=5, request=3)]
    assert order(pods, using(frugal=10, greedy=4)) == ["greedy", "frugal"]


def test_then_pods_of_low_priority_go() -> None:
    pods = [pod("high", priority=5), pod("none"), pod("low", priority=-1)]
    assert order(pods, using(high=9, none=2, low=1)) == ["low", "none", "high"]


def test_then_pods_far_above_their_requests_go() -> None:
    pods = [pod("near", request=90), pod("far", request=10), pod("idle")]
    assert order(pods, using(near=100, far=50)) == ["far", "near", "idle"]


def test_processes_count_after_the_priority() -> None:
    pods = [pod("high", priority=1), pod("few"), pod("many")]
    assert order(pods, using(PIDS, high=90, few=1, many=5), PIDS) == ["many", "few", "high"]


def kubelet_compare(one: Candidate, other: Candidate, usage: NodeUsage) -> int:
    """The comparison of two pods by a kubelet: negative where the first goes first, 0 where either may."""

    def sign(first: Decimal | int, second: Decimal | int) -> int:
        return (first > second) - (first < second)

    excess = {p.uid: usage.pods.get(p.uid, PodUsage()).of(MEMORY) - p.requested[MEMORY] for p in (one, other)}
    return (
        sign(excess[other.uid] > 0, excess[one.uid] > 0)
        or sign(one.priority or 0, other.priority or 0)
        or sign(excess[other.uid], excess[one.uid])
    )


@given(st.lists(st.tuples(st.none() | st.integers(-2, 2), st.integers(0, 4), st.integers(0, 6)), max_size=8))
def test_the_order_is_that_of_a_kubelet(drawn: list[tuple[int | None, int, int]]) -> None:
    pods = [pod(f"p{n}", priority=priority, request=request) for n, (priority, request, _) in enumerate(drawn)]
    usage = using(**{f"p{n}": used for n, (_, _, used) in enumerate(drawn) if used})
    ordered = eviction_order(MEMORY, pods, usage)
    assert sorted(ordered) == sorted(pods)
    assert all(kubelet_compare(one, other, usage) <= 0 for one, other in pairwise(ordered))


@pytest.mark.parametrize(
    ("text", "used", "threshold"),
    [
        ("100Mi", 900, None),
        ("100Mi", 901, "100Mi"),
        ("10%", 901, "100Mi"),
        ("200M", 850, "200M"),
        ("1Gi", 0, "1Gi"),
    ],
)
def test_a_threshold_is_met_below_it(text: str, used: int, threshold: str | None) -> None:
    found = Threshold(MEMORY, text).shortage(NodeUsage(used * MI, {}), CAPACITY)
    assert (found.threshold if found else None) == threshold
    assert found is None or found.available == (1000 - used) * MI


def test_an_unknown_usage_or_capacity_meets_nothing() -> None:
    assert Threshold(DISK, "10%").shortage(using(DISK, a=950), CAPACITY)
    assert not Threshold(DISK, "10%").shortage(using(DISK, a=950), {})
    assert not Threshold(PIDS, "100").shortage(using(DISK, a=950), CAPACITY)


def test_the_machine_of_the_provider_has_precedence() -> None:
    usage = NodeUsage(0, {}, {MEMORY: Available(40 * MI, 400 * MI), PIDS: Available(30, 32768)})
    found = Threshold(MEMORY, "20%").shortage(usage, CAPACITY)
    assert found == Shortage(MEMORY, "80Mi", 40 * MI)
    assert not Threshold(MEMORY, "10%").shortage(usage, CAPACITY)
    assert Threshold(PIDS, "100").shortage(usage, {})


def test_memory_is_reclaimed_first() -> None:
    setting = {"pid.available": "5%", "nodefs.available": "10%", "memory.available": "1Gi"}
    assert parse_thresholds(setting) == [Threshold(MEMORY, "1Gi"), Threshold(DISK, "10%"), Threshold(PIDS, "5%")]


def test_the_message_is_that_of_a_kubelet() -> None:
    shortage = Shortage(MEMORY, "100Mi", 52_428_800)
    containers = [a_container("app", resources={"requests": {"memory": "64Mi"}}), a_container("idle")]
    usage = PodUsage({MEMORY: 80 * MI}, {"setup": 1000, "app": 80 * MI, "gone": 5})
    found = eviction_message(shortage, a_pod(containers=containers, initContainers=[a_container("setup")]), usage)
    assert found == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container setup was using 1000, request is 0, has larger consumption of memory. "
        "Container app was using 80Mi, request is 64Mi, has larger consumption of memory. "
    )


def test_requests_of_the_pod_are_in_the_message() -> None:
    pod = a_pod("web-0", resources={"requests": {"memory": "1Gi"}})
    found = eviction_message(Shortage(MEMORY, "1Gi", 0), pod, PodUsage({MEMORY: 2 * 1024 * MI}))
    assert found.endswith("Pod web-0 was using 2Gi, request is 1Gi, has larger consumption of memory. ")
    pids = eviction_message(Shortage(PIDS, "5", 2000), pod, PodUsage({PIDS: 9}))
    assert pids == "The node was low on resource: pids. Threshold quantity: 5, available: 2k. "


TOLERANT = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}


@pytest.mark.parametrize(
    ("pressures", "qos_class", "spec", "message"),
    [
        ({"MemoryPressure": False}, "BestEffort", {}, None),
        ({"MemoryPressure": True}, "BestEffort", {}, "The node had condition: [MemoryPressure]. "),
        ({"MemoryPressure": True}, "BestEffort", {"tolerations": [TOLERANT]}, None),
        ({"MemoryPressure": True}, "Burstable", {}, None),
        ({"DiskPressure": True}, "Burstable", {}, "The node had condition: [DiskPressure]. "),
        ({"DiskPressure": True}, "Burstable", {"priority": CRITICAL}, None),
    ],
)
def test_a_node_under_pressure_admits_few(
    pressures: dict[str, bool], qos_class: str, spec: dict[str, Any], message: str | None
) -> None:
    pod = {**a_pod(**spec), "status": {"phase": "Pending", "qosClass": qos_class}}
    found = rejection_under_pressure(pod, NodeInfo("web", measured_pressures=pressures))
    assert (found.message if found else None) == message
    assert found is None or found.reason == "Evicted"
