"""The Node object, computed from its spec, the provider's report and the previous status.

Meaning of the fields: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from broker import __version__
from broker.kubernetes.objects import to_time
from broker.kubernetes.quantity import is_extended, parse_quantity, whole
from broker.node.applied import Applied
from broker.node_info import NodeInfo
from broker.node_spec import METRICS_PATH, NodeSpec
from broker.types import Object

_THOUSANDTH = Decimal("0.001")
_NEEDED = ("cpu", "memory", "pods")
"""Resources without which a kubelet is not ready."""
_PRESSURE_CONDITIONS = {
    "MemoryPressure": (
        ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ),
    "DiskPressure": (
        ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("True", "KubeletHasDiskPressure", "kubelet has disk pressure"),
    ),
    "PIDPressure": (
        ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ),
}
"""Status, reason and message without and with the pressure, from `pkg/kubelet/nodestatus/setters.go`. The node
controller adds these conditions as Unknown to a Node without them when its lease expires."""
_DECLARED_FEATURES = [
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
]
"""What a kubelet of Kubernetes 1.36 declares by default, sorted. With the first, the API server sends a WebSocket
of exec, attach and port-forward on as it is, instead of as SPDY; without the others, it refuses to resize the
resources of pods and of init containers, and the scheduler places no pod with RestartAllContainers."""


class NotReady(NamedTuple):
    """Reason, in CamelCase, and message of a `Ready` condition that is False."""

    reason: str
    message: str


def with_own_taints(
    taints: Sequence[Object], spec: NodeSpec, *, gone: frozenset[str] = frozenset()
) -> list[Object]:
    """Return taints with those of a spec added, and those that it is not to have removed; others are kept.

    Args:
        taints: the taints of the Node.
        spec: what the node is to be.
        gone: keys of further taints that are removed.
    """
    own = {taint["key"] for taint in spec.taints} | spec.absent_taints | gone
    return [*(taint for taint in taints if taint["key"] not in own), *spec.taints]


def new_node(spec: NodeSpec, labels: Mapping[str, str], status: Object) -> Object:
    """Return the Node to create."""
    applied = Applied.of(labels, spec.taints, status.get("capacity") or ()).annotation
    metadata = {"name": spec.name, "labels": dict(labels), "annotations": {**spec.annotations, **applied}}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {"taints": with_own_taints([], spec)},
        "status": status,
    }


def node_status(
    spec: NodeSpec,
    node: NodeInfo,
    conditions: Iterable[Object],
    *,
    not_ready: NotReady | None,
    before: Iterable[Object],
    port: int,
    now: datetime,
) -> Object:
    """Compute the status of a node.

    Args:
        spec: what the node is to be.
        node: its capacity, addresses and pressures by the eviction thresholds. A pressure that the provider
            reports as True stays so.
        conditions: the conditions that the provider reports.
        not_ready: a cause for which the node is not ready, regardless of the report.
        before: the previous conditions; a condition with the same status keeps its transition time, and one with
            another status gets no earlier one.
        port: port of the kubelet API.
        now: time of this heartbeat.
    """
    return {
        "capacity": dict(node.capacity),
        "allocatable": dict(node.allocatable),
        "conditions": _conditions(
            spec, node, conditions, not_ready, before={c["type"]: c for c in before}, now=now
        ),
        "addresses": node.addresses,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "declaredFeatures": _DECLARED_FEATURES,
        "features": {"supplementalGroupsPolicy": False},
        "nodeInfo": {
            "operatingSystem": spec.operating_system,
            "architecture": spec.architecture,
            "kubeletVersion": spec.kubelet_version,
            "osImage": "Virtual Kubelet: Web",
            "containerRuntimeVersion": f"web://{__version__}",
            "bootID": "",
            "kernelVersion": "",
            "kubeProxyVersion": "",
            "machineID": "",
            "systemUUID": "",
        },
    }


def status_patch(
    status: Object,
    *,
    written: Mapping[str, Iterable[str]],
    stored: Object,
    metrics_path: str | None = None,
) -> Object:
    """Return the strategic merge patch that writes a status.

    The API server takes annotations with a status, so the path of the metrics needs no request of its own. An
    adopted Node has none, or another one: the `kwok` provider of Cluster Autoscaler sets the path of KWOK.

    Args:
        status: the status to write.
        written: the names of the resources that were written last, of `capacity` and `allocatable`: those that are
            no longer reported are removed, and so is what is allocatable of a resource that another client has
            removed from the capacity.
        stored: the status in Kubernetes.
        metrics_path: value of METRICS_PATH; None for a node with a port of its own.
    """
    reported = {condition["type"] for condition in status["conditions"]}
    unreported = [
        {"$patch": "delete", "type": condition["type"]}
        for condition in stored.get("conditions") or ()
        if condition["type"] in _PRESSURE_CONDITIONS and condition["type"] not in reported
    ]
    return {
        **({"metadata": {"annotations": {METRICS_PATH: metrics_path}}} if metrics_path else {}),
        "status": {
            **status,
            "capacity": _replacing(status["capacity"], written.get("capacity") or ()),
            "allocatable": _replacing(
                status["allocatable"], [*(written.get("allocatable") or ()), *_without_capacity(status, stored)]
            ),
            "conditions": [*status["conditions"], *unreported],
            # Without the directive, addresses are merged by type, and two of one type become one.
            "addresses": [*status["addresses"], {"$patch": "replace"}],
        },
    }


def is_stored(status: Object, stored: Object) -> bool:
    """Return whether the status in Kubernetes has all of a status but the times of its heartbeats.

    Conditions and resources that only the stored status has are those of other clients. A cluster older than
    Kubernetes 1.36 drops `declaredFeatures`.
    """
    conditions = {condition["type"]: condition for condition in stored.get("conditions") or ()}
    reported = {condition["type"] for condition in status["conditions"]}
    return (
        not any(
            conditions[type_]["status"] == "True"
            for type_ in _PRESSURE_CONDITIONS.keys() & conditions.keys() - reported
        )
        and all(
            _same_condition(condition, conditions.get(condition["type"])) for condition in status["conditions"]
        )
        and all(_has_resources(stored.get(name), status[name]) for name in ("capacity", "allocatable"))
        and not _without_capacity(status, stored)
        and status["declaredFeatures"] == stored.get("declaredFeatures", status["declaredFeatures"])
        and status["addresses"] == (stored.get("addresses") or [])
        and status["daemonEndpoints"] == stored.get("daemonEndpoints")
        and status["nodeInfo"].items() <= (stored.get("nodeInfo") or {}).items()
    )


def latest_conditions(known: Iterable[Object], observed: Iterable[Object]) -> list[Object]:
    """Return for each type the condition with the later transition; of equal ones, the observed one.

    A watch may deliver a Node that is older than the last answer to a write.
    """
    latest = {condition["type"]: condition for condition in known}
    for condition in observed:
        before = latest.get(condition["type"])
        if before is None or _transition(condition) >= _transition(before):
            latest[condition["type"]] = condition
    return list(latest.values())


def _conditions(
    spec: NodeSpec,
    node: NodeInfo,
    reported: Iterable[Object],
    not_ready: NotReady | None,
    *,
    before: Mapping[str, Object],
    now: datetime,
) -> list[Object]:
    found: dict[str, tuple[str, str, str]] = {
        "Ready": ("True", "ProviderReady", "the provider answers"),
        "NetworkUnavailable": ("False", "ProviderNetwork", "the provider manages the pod network"),
    }
    for condition in reported:
        status = str(condition.get("status")).capitalize()
        status = status if status in ("True", "False") else "Unknown"
        found[condition["type"]] = status, str(condition.get("reason", "")), str(condition.get("message", ""))
    for type_, holds in node.pressures.items():
        if type_ not in found or (holds and found[type_][0] != "True"):
            found[type_] = _PRESSURE_CONDITIONS[type_][holds]
    missing = [name for name in _NEEDED if name not in node.capacity]
    if not_ready is None and missing:
        what = "capacity of the adopted Node" if spec.is_adopted else "provider's /capacity"
        not_ready = NotReady("ProviderCapacityIncomplete", f"the {what} has no {', '.join(missing)}")
    if not_ready is not None:
        found["Ready"] = ("False", *not_ready)
    heartbeat = to_time(now)
    return [
        {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": _since(before.get(type_, {}), status, heartbeat),
        }
        for type_, (status, reason, message) in found.items()
    ]


def _since(before: Object, status: str, now: str) -> str:
    """Return the transition time of a condition; it never goes back, whatever the clock shows."""
    transition = _transition(before)
    if before.get("status") == status and transition:
        return transition
    return max(now, transition)


def _transition(condition: Object) -> str:
    """Return the `lastTransitionTime`; the API server writes all in one format, which sorts as text."""
    time: str = condition.get("lastTransitionTime") or ""
    return time


def _same_condition(one: Object, other: Object | None) -> bool:
    fields = ("status", "reason", "message", "lastTransitionTime")
    return other is not None and all((one.get(name) or "") == (other.get(name) or "") for name in fields)


def _has_resources(stored: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    """Return whether quantities are stored; the API server writes another notation, and thousandths."""
    there = stored or {}
    return all(name in there and _is_same_quantity(there[name], quantity) for name, quantity in wanted.items())


def _without_capacity(status: Object, stored: Object) -> list[str]:
    """Return the extended resources of which Kubernetes has an allocatable amount, but no capacity any more."""
    known = {**(stored.get("capacity") or {}), **status["allocatable"]}
    return [name for name in stored.get("allocatable") or () if is_extended(name) and name not in known]


def _is_same_quantity(one: str, other: str) -> bool:
    amount, other_amount = parse_quantity(one), parse_quantity(other)
    return amount == other_amount or whole(amount, _THOUSANDTH) == whole(other_amount, _THOUSANDTH)


def _replacing(new: Mapping[str, str], old: Iterable[str]) -> dict[str, str | None]:
    return {**{name: None for name in old if name not in new}, **new}
