"""The pods that a node admits."""

from decimal import Decimal
from typing import Any

import pytest

from broker.kubernetes.quantity import parse_quantity, whole
from broker.node_info import NodeInfo
from broker.pods.admission import Allocated, Rejection, admit, requests
from broker.pods.host_ports import HostPort
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, events, phase, status
from tests.pods import a_container, a_pod
from tests.stub_provider import StubProvider

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
    assert admit(pod, NODE, Allocated({name: Decimal(amount) for name, amount in used.items()})) == rejection


NO_AFFINITY = Rejection(
    "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
)
NO_TOLERATION = Rejection(
    "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
)


@pytest.mark.parametrize(
    ("spec", "rejection"),
    [
        pytest.param({"os": {"name": "linux"}, "nodeSelector": {"zone": "a"}}, None, id="suitable"),
        pytest.param(
            {"os": {"name": "windows"}},
            Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"),
            id="another operating system",
        ),
        pytest.param({"securityContext": {"supplementalGroupsPolicy": "Merge"}}, None, id="groups merged"),
        pytest.param(
            {"securityContext": {"supplementalGroupsPolicy": "Strict", "supplementalGroups": [4000]}},
            Rejection(
                "SupplementalGroupsPolicyNotSupported",
                "SupplementalGroupsPolicy=Strict is not supported in this node",
            ),
            id="strict groups",
        ),
        pytest.param({"nodeSelector": {"zone": "b"}}, NO_AFFINITY, id="another node selected"),
        pytest.param({"nodeName": "node-1"}, None, id="this node"),
        pytest.param(
            {"nodeName": "node-2"},
            Rejection("NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name"),
            id="another node",
        ),
        pytest.param(
            {"containers": [a_container(ports=[{"containerPort": 80, "hostPort": 80}])]},
            Rejection(
                "NodePorts",
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            ),
            id="a port in use",
        ),
    ],
)
def test_a_pod_requires_a_suitable_node(spec: Object, rejection: Rejection | None) -> None:
    assert admit(a_pod(**spec), NODE, Allocated(ports=frozenset({HostPort("TCP", 80)}))) == rejection


@pytest.mark.parametrize("os", ["linux", "windows"])
def test_the_os_label_must_match_the_node(os: str) -> None:
    node = NodeInfo("node-1", "windows", labels={"kubernetes.io/os": "linux"})
    expected = Rejection(
        "PodOSSelectorNodeLabelDoesNotMatch",
        "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    )
    labelled = a_pod(metadata={"labels": {"kubernetes.io/os": os}})
    assert admit(labelled, node, Allocated()) == (None if os == "windows" else expected)


@pytest.mark.parametrize("effect", ["NoExecute", "NoSchedule", "PreferNoSchedule"])
def test_only_no_execute_taints_reject(effect: str) -> None:
    node = NodeInfo("node-1", taints=[{"key": "maintenance", "effect": effect}])
    assert admit(a_pod(), node, Allocated()) == (NO_TOLERATION if effect == "NoExecute" else None)
    assert admit(a_pod(tolerations=[{"operator": "Exists"}]), node, Allocated()) is None


def test_the_first_rejection_is_reported() -> None:
    node = NodeInfo("node-1", allocatable={"cpu": "1"}, taints=[{"key": "maintenance", "effect": "NoExecute"}])
    spec: Object = {"containers": [needing(cpu="2")], "nodeSelector": {"zone": "b"}, "os": {"name": "windows"}}
    reasons = []
    for correction in ({"os": None}, {"containers": [needing(cpu="1")]}, {"nodeSelector": None}):
        rejection = admit(a_pod(**spec), node, Allocated())
        reasons.append(rejection.reason if rejection else None)
        spec |= correction
    assert reasons == ["PodOSNotSupported", "OutOfcpu", "NodeAffinity"]
    assert admit(a_pod(**spec), node, Allocated()) == NO_TOLERATION


async def test_a_rejected_pod_never_reaches_the_provider(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    api.store.create("pods", bound(os={"name": "windows"}))
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Failed")
        (event,) = await api.until(lambda: events(api, "PodOSNotSupported"))
    found = status(api)
    assert found["reason"] == "PodOSNotSupported"
    assert found["message"] == f"Pod was rejected: {event['message']}"
    assert event["message"] == "Failed to admit pod as the OS field doesn't match node OS"
    assert event["type"] == "Warning"
    assert not stub.requests_to("/createPod")


async def test_taints_do_not_reject_running_pods(
    api: ApiServer, stub: StubProvider, controlling: Controlling, info: NodeInfo
) -> None:
    api.store.create("pods", bound("runs"))
    async with controlling(stub):
        await api.until(lambda: phase(api, "runs") == "Running")
    info.taints = [{"key": "maintenance", "effect": "NoExecute"}]
    async with controlling(stub):
        api.store.create("pods", bound("new"))
        await api.until(lambda: phase(api, "new") == "Failed")
        await api.until(lambda: events(api, "TaintToleration"))
        assert phase(api, "runs") == "Running"


async def test_labels_that_the_watch_lacks_are_read(
    api: ApiServer, stub: StubProvider, controlling: Controlling, info: NodeInfo
) -> None:
    node = {"metadata": {"name": info.name, "labels": {"zone": "a"}}, "spec": {}, "status": {}}
    api.store.create("nodes", node)
    api.store.create("pods", bound("here", nodeSelector={"zone": "a"}))
    api.store.create("pods", bound("elsewhere", nodeSelector={"zone": "b"}))
    async with controlling(stub):
        await api.until(lambda: phase(api, "here") == "Running")
        await api.until(lambda: phase(api, "elsewhere") == "Failed")
        await api.until(lambda: events(api, "NodeAffinity"))


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
