"""Admission of pods to this node. A kubelet makes the same checks, since a pod can be bound without the scheduler.

Source: `pkg/kubelet/lifecycle/predicate.go` for reasons and messages, `component-helpers/resource` for what a pod
requests, `component-helpers/scheduling/corev1/nodeaffinity` for selectors.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from broker.kubernetes.objects import Object
from broker.kubernetes.quantity import Amounts, amounts, largest, total, whole
from broker.node_info import NodeInfo

PODS = "pods"
_ORDER = (PODS, "cpu", "memory", "ephemeral-storage")
"""Where several resources are insufficient, the first of these is reported, then any other."""


class Rejection(NamedTuple):
    """`reason` and `message` of the status of a pod that is not admitted."""

    reason: str
    message: str


class ResourceLedger:
    """The sum of the requests of all admitted pods."""

    def __init__(self) -> None:
        self._pods: dict[str, Amounts] = {}
        self._used: dict[str, Decimal] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    @property
    def used(self) -> Amounts:
        """Resource name → amount requested by all admitted pods."""
        return self._used

    def admit(self, uid: str, requested: Amounts) -> None:
        """Add a pod's requests, or replace those counted before."""
        self.release(uid)
        self._pods[uid] = requested
        self._used = total((self._used, requested))

    def release(self, uid: str) -> None:
        """Subtract the requests of a pod that has ended or is deleted."""
        for name, amount in self._pods.pop(uid, {}).items():
            self._used[name] -= amount


def requests(pod: Object) -> dict[str, Decimal]:
    """Return the requests of a pod: resource name → amount, with `pods` = 1.

    Init containers run one after another, beside the sidecars started before them. Pod-level requests replace
    those of the containers.
    """
    spec = pod["spec"]
    steady = [_requested(container) for container in spec["containers"]]
    sidecars: list[Amounts] = []
    peak: Mapping[str, Decimal] = {}
    for container in spec.get("initContainers") or ():
        requested = _requested(container)
        peak = largest(peak, total((*sidecars, requested)))
        if container.get("restartPolicy") == "Always":
            sidecars.append(requested)
    needed = largest(total((*steady, *sidecars)), peak)
    needed |= _requested(spec)
    return total((needed, amounts(spec.get("overhead")), {PODS: Decimal(1)}))


def admit(pod: Object, node: NodeInfo, used: Amounts) -> Rejection | None:
    """Check a pod's requests against the free resources of the node, and its selectors against the node's labels.

    Args:
        pod: the pod.
        node: the node; requests of resources that it does not list are ignored.
        used: sum of the requests of the admitted pods.

    Returns:
        None where the pod is admitted.
    """
    capacity = amounts(node.allocatable)
    requested = requests(pod)
    for name in (*_ORDER, *sorted(requested.keys() - _ORDER)):
        amount = requested.get(name, Decimal(0))
        if amount > 0 and name in capacity and used.get(name, Decimal(0)) + amount > capacity[name]:
            return _insufficient(name, amount, used.get(name, Decimal(0)), capacity[name])
    if not matches_node(pod, node):
        return Rejection(
            "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        )
    return None


def matches_node(pod: Object, node: NodeInfo) -> bool:
    """Return whether a node matches a pod's `nodeSelector` and required node affinity."""
    spec = pod["spec"]
    selector: Mapping[str, str] = spec.get("nodeSelector") or {}
    if any(node.labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def _requested(container: Object) -> dict[str, Decimal]:
    return amounts((container.get("resources") or {}).get("requests"))


def _insufficient(name: str, requested: Decimal, used: Decimal, capacity: Decimal) -> Rejection:
    unit = Decimal("0.001") if name == "cpu" else Decimal(1)
    return Rejection(
        f"OutOf{name}",
        f"Node didn't have enough resource: {name}, requested: {whole(requested, unit)}, "
        f"used: {whole(used, unit)}, capacity: {whole(capacity, unit)}",
    )


def _matches(term: Object, node: NodeInfo) -> bool:
    """Return whether a node matches every requirement of a term; an empty term matches no node."""
    expressions: list[Object] = term.get("matchExpressions") or []
    fields: list[Object] = term.get("matchFields") or []
    return bool(expressions or fields) and (
        all(_matches_requirement(requirement, node.labels) for requirement in expressions)
        and all(_matches_requirement(requirement, {"metadata.name": node.name}) for requirement in fields)
    )


def _matches_requirement(requirement: Object, labels: Mapping[str, str]) -> bool:
    check = _OPERATORS.get(requirement["operator"])
    return check is not None and check(labels.get(requirement["key"]), requirement.get("values") or [])


def _integers(value: str | None, values: Iterable[Any]) -> tuple[int, int] | None:
    try:
        (bound,) = values
        return int(value or ""), int(bound)
    except ValueError:
        return None


_OPERATORS: Mapping[str, Callable[[str | None, list[Any]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: (pair := _integers(value, values)) is not None and pair[0] > pair[1],
    "Lt": lambda value, values: (pair := _integers(value, values)) is not None and pair[0] < pair[1],
}
