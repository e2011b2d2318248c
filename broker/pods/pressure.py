"""Pressure on the resources of the node: thresholds, the order in which pods are evicted, and the messages.

A threshold is a least amount of a resource that is to be available: what the provider's machine has left, or where
the provider does not report its machine, capacity of the node less usage of the pods. Below it, the node has a
condition such as MemoryPressure, and pods are evicted in this order: those that use more than they request first,
then by priority, the lower first, then by usage less request, the larger first. For processes, which are not
requested, the order is priority, then number.

A pod for which the provider reports no usage has no running container: it uses nothing.

Source: `pkg/kubelet/eviction/helpers.go` for amounts, order and messages, `Admit` in `eviction_manager.go`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from broker.kubernetes.quantity import Amounts, format_quantity, parse_quantity, whole
from broker.node_info import NodeInfo
from broker.pods.admission import Rejection
from broker.pods.preemption import Candidate, is_critical
from broker.pods.taints import tolerates
from broker.types import Object

EVICTED = "Evicted"
MEMORY, DISK, PIDS = "memory", "ephemeral-storage", "pids"
CONDITIONS = {MEMORY: "MemoryPressure", DISK: "DiskPressure", PIDS: "PIDPressure"}
"""Resource → condition of the node."""
_SIGNALS = {"memory.available": MEMORY, "nodefs.available": DISK, "pid.available": PIDS}
_MEMORY_TAINT: Object = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}


class PodUsage(NamedTuple):
    """Usage of a pod.

    Attributes:
        amounts: resource → bytes or processes; None where the provider does not report it.
        containers: container → memory in bytes.
    """

    amounts: Mapping[str, int | None] = {}
    containers: Mapping[str, int] = {}

    def of(self, resource: str) -> int:
        """Return the usage of a resource; 0 where it is not reported."""
        return self.amounts.get(resource) or 0


class Available(NamedTuple):
    """An amount of a resource, in bytes or tasks, and the capacity it is part of."""

    amount: int
    capacity: Decimal | int


class NodeUsage(NamedTuple):
    """Usage of the node.

    Attributes:
        memory: memory of the pods and of the broker in bytes.
        pods: UID → usage.
        machine: resource → what is available on the machine of the provider, where it is reported.
    """

    memory: int
    pods: Mapping[str, PodUsage]
    machine: Mapping[str, Available] = {}

    def available(self, resource: str, capacity: Amounts) -> Available | None:
        """Return what is available of a resource; None where usage or capacity is not reported.

        Args:
            resource: name of the resource.
            capacity: of the node, for what the machine does not report.
        """
        if resource in self.machine:
            return self.machine[resource]
        used = self._used(resource)
        if used is None or resource not in capacity:
            return None
        return Available(int(capacity[resource]) - used, capacity[resource])

    def _used(self, resource: str) -> int | None:
        """Return the usage of a resource; None where no pod reports it."""
        if resource == MEMORY:
            return self.memory
        reported = [used for pod in self.pods.values() if (used := pod.amounts.get(resource)) is not None]
        return sum(reported) if reported else None


class Threshold(NamedTuple):
    """The amount of a resource below which pods are evicted.

    Attributes:
        resource: name of the resource.
        text: a quantity, or a percentage of the capacity.
    """

    resource: str
    text: str

    def amount(self, capacity: Decimal | int) -> int:
        """Return the amount in whole units."""
        if self.text.endswith("%"):
            return int(capacity * Decimal(self.text[:-1]) / 100)
        return whole(parse_quantity(self.text))

    def shortage(self, usage: NodeUsage, capacity: Amounts) -> "Shortage | None":
        """Return the shortage; None where enough is available, or where usage or capacity are not reported."""
        available = usage.available(self.resource, capacity)
        if available is None or available.amount >= (threshold := self.amount(available.capacity)):
            return None
        is_binary = self.text.endswith(("i", "%"))
        return Shortage(self.resource, format_quantity(threshold, binary=is_binary), max(available.amount, 0))


class Shortage(NamedTuple):
    """A resource of which less is available than its threshold.

    Attributes:
        resource: name of the resource.
        threshold: the threshold as a quantity.
        available: available amount in bytes or processes.
    """

    resource: str
    threshold: str
    available: int

    @property
    def signal(self) -> str:
        """The eviction signal, such as `memory.available`."""
        return next(signal for signal, resource in _SIGNALS.items() if resource == self.resource)


def parse_thresholds(setting: Mapping[str, str]) -> list[Threshold]:
    """Return the thresholds of the setting `EVICTION_HARD`, memory first: it is reclaimed before all others."""
    return [Threshold(resource, setting[signal]) for signal, resource in _SIGNALS.items() if signal in setting]


def eviction_order(resource: str, pods: Iterable[Candidate], usage: NodeUsage) -> list[Candidate]:
    """Return pods in the order of their eviction for a shortage of a resource."""

    def rank(pod: Candidate) -> tuple[Decimal | int, ...]:
        used = usage.pods.get(pod.uid, PodUsage()).of(resource)
        excess = used - pod.requested.get(resource, Decimal(0))
        priority = pod.priority or 0
        return (priority, -used) if resource == PIDS else (excess <= 0, priority, -excess)

    return sorted(pods, key=rank)


def eviction_message(shortage: Shortage, pod: Object, usage: PodUsage | None) -> str:
    """Return the message of a pod that is evicted: the shortage, and the containers that exceed their requests.

    Args:
        shortage: the shortage.
        pod: the pod.
        usage: usage of the pod; None where it is not reported.
    """
    resource, spec = shortage.resource, pod["spec"]
    available = format_quantity(shortage.available, binary=resource != PIDS)
    message = (
        f"The node was low on resource: {resource}. "
        f"Threshold quantity: {shortage.threshold}, available: {available}. "
    )
    if resource != MEMORY or usage is None:
        return message
    if request := _request(spec):
        message += _consumption("Pod", pod["metadata"]["name"], usage.of(MEMORY), request)
    requests = {c["name"]: _request(c) or "0" for c in (*spec["containers"], *(spec.get("initContainers") or ()))}
    return message + "".join(
        _consumption("Container", name, used, requests[name])
        for name, used in usage.containers.items()
        if name in requests and used > parse_quantity(requests[name])
    )


def rejection_under_pressure(pod: Object, node: NodeInfo) -> Rejection | None:
    """Return the rejection of a pod that a node under pressure does not admit; None where it does.

    Critical pods are admitted. Under memory pressure alone, so are pods with requests, and those that tolerate it.
    """
    found = sorted(condition for condition, holds in node.pressures.items() if holds)
    if not found or is_critical(pod["spec"].get("priority")):
        return None
    if found == [CONDITIONS[MEMORY]]:
        is_best_effort = (pod.get("status") or {}).get("qosClass", "BestEffort") == "BestEffort"
        if not is_best_effort or tolerates(pod, _MEMORY_TAINT):
            return None
    return Rejection(EVICTED, f"The node had condition: [{' '.join(found)}]. ")


def _request(container: Object) -> str | None:
    requests: Mapping[str, object] = (container.get("resources") or {}).get("requests") or {}
    return str(requests[MEMORY]) if MEMORY in requests else None


def _consumption(kind: str, name: str, used: int, request: str) -> str:
    amount = format_quantity(used, binary=True)
    return f"{kind} {name} was using {amount}, request is {request}, has larger consumption of {MEMORY}. "
