"""In-place resize: allocated resources, and the resizes that a node grants."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from broker.node_info import NodeInfo
from broker.pods.admission import Allocated, Rejection
from broker.pods.host_ports import HostPort
from broker.pods.resize import (
    allocation_in,
    is_allocated,
    pending_condition,
    refusal,
    summary,
    with_allocation,
)
from tests.pods import a_container, a_pod

Object = dict[str, Any]
NODE = NodeInfo("node-1", allocatable={"cpu": "1000", "memory": "10Gi", "pods": "10"})


def needing(name: str = "web", **amounts: str) -> Object:
    """A container that requests resources."""
    return a_container(name, resources={"requests": amounts})


def test_the_allocation_has_every_containers_resources() -> None:
    pod = a_pod(
        containers=[needing(cpu="1"), needing("b", cpu="2"), a_container("c")],
        initContainers=[needing("init", cpu="3")],
        resources={"limits": {"cpu": "9"}},
    )
    allocation = allocation_in(pod)
    assert allocation == {
        "": {"limits": {"cpu": "9"}},
        "init": {"requests": {"cpu": "3"}},
        "web": {"requests": {"cpu": "1"}},
        "b": {"requests": {"cpu": "2"}},
        "c": {},
    }
    bare = a_pod(uid=pod["metadata"]["uid"], containers=[needing(), needing("b"), a_container("c")])
    bare["spec"] |= {"initContainers": [needing("init")], "resources": {}}
    assert with_allocation(bare, allocation) == pod
    assert with_allocation(pod, {}) == pod


@pytest.mark.parametrize(
    ("now", "before", "same"),
    [
        pytest.param({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1000m"}}, True, id="in another notation"),
        pytest.param({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, False, id="another request"),
        pytest.param({"limits": {"cpu": "1"}}, {}, False, id="another limit"),
        pytest.param({}, {"requests": {"cpu": "2"}}, False, id="nothing"),
        pytest.param({"requests": {}}, {"limits": None}, True, id="two kinds of nothing"),
    ],
)
def test_another_amount_is_a_resize(now: Object, before: Object, same: bool) -> None:
    pod = a_pod(containers=[a_container(resources=now)])
    assert is_allocated(pod, {"web": before}) is same


def test_a_copy_without_resources_is_no_resize() -> None:
    copy = {"spec": {"containers": [{"name": "web"}]}}
    assert is_allocated(a_pod(containers=[needing(cpu="2")]), allocation_in(copy))


@pytest.mark.parametrize(
    ("requested", "used", "refused"),
    [
        pytest.param({"cpu": "400"}, {"cpu": "600"}, None, id="to the last core"),
        pytest.param(
            {"cpu": "500"},
            {"cpu": "600"},
            Rejection(
                "Deferred",
                "Node didn't have enough resource: cpu, requested: 500000, used: 600000, capacity: 1000000",
            ),
            id="not now",
        ),
        pytest.param(
            {"cpu": "1000001m"},
            {},
            Rejection(
                "Infeasible", "Node didn't have enough capacity: cpu, requested: 1000001, capacity: 1000000"
            ),
            id="never",
        ),
        pytest.param(
            {"cpu": "2000", "memory": "20Gi"},
            {},
            Rejection(
                "Infeasible",
                "Node didn't have enough capacity: memory, requested: 21474836480, capacity: 10737418240",
            ),
            id="memory before cpu",
        ),
        pytest.param({"cpu": "1"}, {"pods": "9"}, None, id="in its own place"),
    ],
)
def test_a_resize_requires_sufficient_resources(
    requested: dict[str, str], used: dict[str, str], refused: Rejection | None
) -> None:
    pod = a_pod(containers=[needing(**requested)])
    assert refusal(pod, NODE, Allocated({name: Decimal(amount) for name, amount in used.items()})) == refused


def test_other_rejections_defer_a_resize() -> None:
    pod = a_pod(containers=[a_container(ports=[{"containerPort": 80, "hostPort": 80}])])
    refused = refusal(pod, NODE, Allocated(ports=frozenset({HostPort("TCP", 80)})))
    assert refused
    assert refused.reason == "Deferred"
    assert refused.message.startswith("Predicate NodePorts failed")


def test_the_pending_condition_has_the_generation() -> None:
    pod = a_pod(metadata={"generation": 4})
    assert pending_condition(pod, Rejection("Deferred", "full")) == {
        "type": "PodResizePending",
        "status": "True",
        "reason": "Deferred",
        "message": "full",
        "observedGeneration": 4,
    }


@pytest.mark.parametrize("error", ["", "full"])
def test_the_summary_lists_desired_resources(error: str) -> None:
    pod = a_pod(metadata={"generation": 4}, containers=[needing(cpu="2")], initContainers=[a_container("init")])
    assert msgspec.json.decode(summary(pod, error)) == {
        "initContainers": [{"name": "init", "resources": {}}],
        "containers": [{"name": "web", "resources": {"requests": {"cpu": "2"}}}],
        "generation": 4,
        **({"error": error} if error else {}),
    }
