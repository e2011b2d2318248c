"""Whether this node takes a pod on. A kubelet asks itself the same, since a pod can come past the scheduler.

Source: `pkg/kubelet/lifecycle/predicate.go` for reasons and messages, `component-helpers/resource` for what a pod
requests, `component-helpers/scheduling/corev1/nodeaffinity` for selectors.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from broker.kubernetes.objects import Object
from broker.kubernetes.quantity import Amounts, amounts, largest, total, whole
from broker.node_info import NodeFacts

PODS = "pods"
_ORDER = (PODS, "cpu", "memory", "ephemeral-storage")
"""Where more than one resource falls short, the first of these is the reason, then any other."""


class Rejection(NamedTuple):
    """Why not: `reason` and `message` of the pod's status."""

    reason: str
    message: str


class Ledger:
    """What the pods that were taken on request in all, kept up to date pod by pod."""

    def __init__(self) -> None:
        self._pods: dict[str, Amounts] = {}
        self._used: dict[str, Decimal] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    @property
    def used(self) -> Amounts:
        """Resource name → amount."""
        return self._used

    def admit(self, uid: str, requested: Amounts) -> None:
        """Count a pod, with what it requests now."""
        self.release(uid)
        self._pods[uid] = requested
        self._used = total((self._used, requested))

    def release(self, uid: str) -> None:
        """Count a pod no longer: it has ended, or is gone."""
        for name, amount in self._pods.pop(uid, {}).items():
            self._used[name] -= amount


def requests(pod: Object) -> dict[str, Decimal]:
    """Add up what a pod requests, itself included: `pods` is 1.

    Init containers run one after another, beside the sidecars that were started before them; requests of the pod
    as a whole, where it has them, take the place of its containers'.
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


def admit(pod: Object, node: NodeFacts, used: Amounts) -> Rejection | None:
    """Decide whether there is room for a pod, and whether it wants to be here.

    Args:
        pod: the pod.
        node: its node; a resource that it does not name is not what admission is about.
        used: what the pods that were taken on before request in all.

    Returns:
        None where the pod is welcome.
    """
    capacity = amounts(node.allocatable)
    requested = requests(pod)
    for name in (*_ORDER, *sorted(requested.keys() - _ORDER)):
        amount = requested.get(name, Decimal(0))
        if amount > 0 and name in capacity and used.get(name, Decimal(0)) + amount > capacity[name]:
            return _insufficient(name, amount, used.get(name, Decimal(0)), capacity[name])
    if not wants_node(pod, node):
        return Rejection(
            "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        )
    return None


def wants_node(pod: Object, node: NodeFacts) -> bool:
    """Tell whether a node fulfils a pod's nodeSelector and required node affinity."""
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


def _matches(term: Object, node: NodeFacts) -> bool:
    """Tell whether a node fulfils every requirement of a term; one without any is fulfilled by no node."""
    expressions: list[Object] = term.get("matchExpressions") or []
    fields: list[Object] = term.get("matchFields") or []
    return bool(expressions or fields) and (
        all(_fulfils(requirement, node.labels) for requirement in expressions)
        and all(_fulfils(requirement, {"metadata.name": node.name}) for requirement in fields)
    )


def _fulfils(requirement: Object, labels: Mapping[str, str]) -> bool:
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
