"""The pods that a node admits."""

from decimal import Decimal
from typing import Any

import pytest

from broker.kubernetes.quantity import parse_quantity, whole
from broker.node_info import NodeInfo
from broker.pods.admission import Rejection, ResourceLedger, admit, requests
from tests.pods import a_container, a_pod

Object = dict[str, Any]


def needing(name: str = "web", *, sidecar: bool = False, **amounts: str) -> Object:
    """A container that requests resources."""
    container = a_container(name, resources={"requests": amounts})
    return {**container, "restartPolicy": "Always"} if sidecar else container


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        pytest.param({"containers": [needing(cpu="1"), needing("b", cpu="500m")]}, "1.5", id="a sum"),
        pytest.param(
            {"containers": [needing(cpu="1")], "initContainers": [needing("i", cpu="3"), needing("j", cpu="2")]},
            "3",
            id="init containers run one after another",
        ),
        pytest.param(
            {"containers": [needing(cpu="1")], "initContainers": [needing("s", cpu="2", sidecar=True)]},
            "3",
            id="a sidecar runs beside the containers",
        ),
        pytest.param(
            {
                "containers": [needing(cpu="1")],
                "initContainers": [needing("s", cpu="2", sidecar=True), needing("i", cpu="5")],
            },
            "7",
            id="and beside the init containers after it",
        ),
        pytest.param(
            {
                "containers": [needing(cpu="1")],
                "initContainers": [needing("i", cpu="5"), needing("s", cpu="2", sidecar=True)],
            },
            "5",
            id="but not beside those before it",
        ),
        pytest.param(
            {"containers": [needing(cpu="1")], "resources": {"requests": {"cpu": "4"}}},
            "4",
            id="of the pod as a whole",
        ),
        pytest.param({"containers": [needing(cpu="1")], "overhead": {"cpu": "250m"}}, "1.25", id="and overhead"),
    ],
)
def test_requests_of_a_pod(spec: Object, cpu: str) -> None:
    requested = requests(a_pod(**spec))
    assert requested["cpu"] == Decimal(cpu)
    assert requested["pods"] == 1


NODE = NodeInfo(
    "node-1",
    labels={"zone": "a", "size": "8"},
    allocatable={"pods": "3", "cpu": "2", "memory": "1Gi", "example.com/gpu": "1"},
)


@pytest.mark.parametrize(
    ("amounts", "used", "rejection"),
    [
        pytest.param({"cpu": "2"}, {}, None, id="all there is"),
        pytest.param({}, {"pods": "2"}, None, id="the last place"),
        pytest.param({}, {"cpu": "3"}, None, id="wants none of what is short"),
        pytest.param({"unknown.com/a": "9"}, {}, None, id="what the node does not count"),
        pytest.param(
            {},
            {"pods": "3"},
            Rejection("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"),
            id="no place",
        ),
        pytest.param(
            {"cpu": "600m", "memory": "2Gi"},
            {"cpu": "1.5"},
            Rejection(
                "OutOfcpu", "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
            ),
            id="cpu, in thousandths",
        ),
        pytest.param(
            {"memory": "2Gi"},
            {},
            Rejection(
                "OutOfmemory",
                "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
            ),
            id="memory, in bytes",
        ),
        pytest.param(
            {"example.com/gpu": "1"},
            {"example.com/gpu": "1"},
            Rejection(
                "OutOfexample.com/gpu",
                "Node didn't have enough resource: example.com/gpu, requested: 1, used: 1, capacity: 1",
            ),
            id="a device",
        ),
    ],
)
def test_a_pod_requires_sufficient_resources(
    amounts: dict[str, str], used: dict[str, str], rejection: Rejection | None
) -> None:
    pod = a_pod(containers=[a_container(resources={"requests": amounts})])
    assert admit(pod, NODE, {name: Decimal(amount) for name, amount in used.items()}) == rejection


def affinity(*terms: Object) -> Object:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def expression(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "welcome"),
    [
        pytest.param({"nodeSelector": {"zone": "a"}}, True, id="selected"),
        pytest.param({"nodeSelector": {"zone": "a", "disk": "ssd"}}, False, id="another selected"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "In", "a", "b")]}), True, id="In"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "In", "b")]}), False, id="not In"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "NotIn", "b")]}), True, id="NotIn"),
        pytest.param(
            affinity({"matchExpressions": [expression("disk", "NotIn", "b")]}), True, id="NotIn, without"
        ),
        pytest.param(affinity({"matchExpressions": [expression("zone", "Exists")]}), True, id="Exists"),
        pytest.param(
            affinity({"matchExpressions": [expression("disk", "DoesNotExist")]}), True, id="DoesNotExist"
        ),
        pytest.param(affinity({"matchExpressions": [expression("size", "Gt", "7")]}), True, id="Gt"),
        pytest.param(affinity({"matchExpressions": [expression("size", "Lt", "8")]}), False, id="not Lt"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "Gt", "7")]}), False, id="Gt of no number"),
        pytest.param(
            affinity({"matchExpressions": [expression("zone", "Like", "a")]}), False, id="a new operator"
        ),
        pytest.param(affinity({"matchFields": [expression("metadata.name", "In", "node-1")]}), True, id="by name"),
        pytest.param(
            affinity({"matchFields": [expression("metadata.name", "In", "node-2")]}), False, id="not by name"
        ),
        pytest.param(
            affinity(
                {"matchExpressions": [expression("zone", "In", "b")]},
                {"matchExpressions": [expression("zone", "Exists")]},
            ),
            True,
            id="one term is enough",
        ),
        pytest.param(affinity({}), False, id="an empty term is for no node"),
        pytest.param({"affinity": {"nodeAffinity": {}}}, True, id="nothing required"),
    ],
)
def test_a_pod_requires_matching_selector_and_affinity(spec: Object, welcome: bool) -> None:
    rejection = admit(a_pod(**spec), NODE, {})
    assert rejection == (
        None
        if welcome
        else Rejection(
            "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        )
    )


def test_the_ledger_counts_each_admitted_pod_once() -> None:
    ledger = ResourceLedger()
    ledger.admit("a", {"cpu": Decimal(1)})
    ledger.admit("a", {"cpu": Decimal(2)})
    ledger.admit("b", {"cpu": Decimal("0.5")})
    assert ledger.used == {"cpu": Decimal("2.5")}
    ledger.release("a")
    ledger.release("a")
    assert ledger.used == {"cpu": Decimal("0.5")}
    assert "b" in ledger
    assert "a" not in ledger


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("1.5", "1.5"),
        ("2Ki", "2048"),
        ("1e3", "1000"),
        ("3M", "3000000"),
        ("-1", "-1"),
        (".5", "0.5"),
    ],
)
def test_a_quantity_is_parsed(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "1 Gi", "abc", "1Kb", "٣"])
def test_an_invalid_quantity_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


def test_whole_rounds_up() -> None:
    assert whole(parse_quantity("1001m")) == 2
