"""Admission of pods to this node. A kubelet makes the same checks, since a pod can be bound without the scheduler.

Source: `pkg/kubelet/lifecycle/predicate.go` for reasons, messages and their order, `AdmissionCheck` in
`pkg/scheduler` for the predicates, `component-helpers/resource` for what a pod requests.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from broker.kubernetes.quantity import Amounts, amounts, largest, less, total, whole
from broker.node_info import NodeInfo
from broker.pods.host_ports import HostPort, has_conflict, host_ports
from broker.pods.node_affinity import matches_node
from broker.pods.taints import tolerates_no_execute
from broker.types import Object

PODS = "pods"
_ORDER = (PODS, "cpu", "memory", "ephemeral-storage")
"""Where several resources are insufficient, the first of these is reported, then any other."""
NODE_AFFINITY = "NodeAffinity"
_OS_LABEL = "kubernetes.io/os"


class Allocated(NamedTuple):
    """Resources and host ports of several pods together.

    Attributes:
        amounts: resource name → amount.
        ports: host ports.
    """

    amounts: Mapping[str, Decimal] = {}
    ports: frozenset[HostPort] = frozenset()

    def without(self, requested: Amounts, ports: frozenset[HostPort]) -> "Allocated":
        """Return what is left without the resources and host ports of one pod."""
        return Allocated(less(self.amounts, requested), self.ports - ports)


class Rejection(NamedTuple):
    """`reason` and `message` of the status of a pod that is not admitted."""

    reason: str
    message: str


class InsufficientResource(NamedTuple):
    """A resource of which the node has too little for a pod.

    Attributes:
        resource: name of the resource.
        requested: amount that the pod requests.
        used: amount that other pods hold.
        capacity: amount that the node has.
    """

    resource: str
    requested: Decimal
    used: Decimal
    capacity: Decimal

    @property
    def missing(self) -> Decimal:
        """The amount that other pods would have to release."""
        return self.requested + self.used - self.capacity

    @property
    def rejection(self) -> Rejection:
        """Reason and message for a pod that is rejected for this shortage."""
        requested, used, capacity = (in_units(self.resource, amount) for amount in self[1:])
        return Rejection(
            f"OutOf{self.resource}",
            f"Node didn't have enough resource: {self.resource}, requested: {requested}, used: {used}, "
            f"capacity: {capacity}",
        )


def in_units(resource: str, amount: Decimal) -> int:
    """Return an amount as a kubelet's messages have it: thousandths of a core, else whole units."""
    return whole(amount, Decimal("0.001") if resource == "cpu" else Decimal(1))


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


def admit(pod: Object, node: NodeInfo, used: Allocated) -> Rejection | None:
    """Check whether a pod can run on the node.

    Args:
        pod: the pod.
        node: the node.
        used: what the admitted pods hold.

    Returns:
        The first rejection, in a kubelet's order; None where the pod is admitted.
    """
    if rejection := unsupported(pod, node):
        return rejection
    for shortage in insufficient_resources(pod, node, used.amounts):
        return shortage.rejection
    return next(mismatches(pod, node, used.ports), None)


def unsupported(pod: Object, node: NodeInfo) -> Rejection | None:
    """Return the rejection of a pod that this kind of node can never run; None where there is none.

    The broker publishes no `supplementalGroupsPolicy` in the node's `status.features`: the contract has no such
    feature of a provider.
    """
    spec, labels = pod["spec"], pod["metadata"].get("labels") or {}
    if labels.get(_OS_LABEL, node.operating_system) != node.operating_system:
        return Rejection(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        )
    if (spec.get("os") or {}).get("name", node.operating_system) != node.operating_system:
        return Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if (spec.get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        return Rejection(
            "SupplementalGroupsPolicyNotSupported",
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        )
    return None


def insufficient_resources(pod: Object, node: NodeInfo, used: Amounts) -> Iterator[InsufficientResource]:
    """Yield each resource that the pod requests and the node has too little of.

    Requests of resources that the node does not list are ignored.
    """
    capacity, requested = amounts(node.allocatable), requests(pod)
    for name in (*_ORDER, *sorted(requested.keys() - _ORDER)):
        amount, held = requested.get(name, Decimal(0)), used.get(name, Decimal(0))
        if amount > 0 and name in capacity and held + amount > capacity[name]:
            yield InsufficientResource(name, amount, held, capacity[name])


def mismatches(pod: Object, node: NodeInfo, used_ports: Iterable[HostPort]) -> Iterator[Rejection]:
    """Yield the rejections that no free resource would change."""
    if not matches_node(pod, node):
        yield _failed(NODE_AFFINITY, "node(s) didn't match Pod's node affinity/selector")
    if pod["spec"].get("nodeName", node.name) != node.name:
        yield _failed("NodeName", "node(s) didn't match the requested node name")
    if has_conflict(host_ports(pod), used_ports):
        yield _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if not tolerates_no_execute(pod, node.taints):
        yield _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")


def _failed(predicate: str, why: str) -> Rejection:
    return Rejection(predicate, f"Predicate {predicate} failed: {why}")


def _requested(container: Object) -> dict[str, Decimal]:
    return amounts((container.get("resources") or {}).get("requests"))
