"""Preemption by the node: the pods that have to end so that a critical pod can run.

A critical pod, such as a network agent, is not rejected for a lack of resources. The node ends other pods instead,
those with the least to lose first: pods of the QoS class Guaranteed only where all others do not free enough, then
Burstable, then BestEffort. Within a class, the pod that covers most of what is missing is chosen first, and of
equal ones the smaller, so that few pods end.

Source: `pkg/kubelet/preemption/preemption.go`; `IsCriticalPod` and `Preemptable` in `pkg/kubelet/types`.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from broker.kubernetes.objects import key
from broker.kubernetes.quantity import Amounts, less, total
from broker.pods.admission import InsufficientResource, Rejection, in_units
from broker.types import Object

_SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
_CLASSES = ("Guaranteed", "Burstable", "BestEffort")
_DISTURBANCE = ("memory", "cpu")


class Disruption(NamedTuple):
    """The cause for which the node ends a pod.

    Attributes:
        why: reason and message of the pod's status and event.
        message: message of the condition `DisruptionTarget`.
        grace: grace period in seconds; None: the pod's own.
    """

    why: Rejection
    message: str
    grace: int | None = None

    @property
    def condition(self) -> Object:
        """The condition `DisruptionTarget` of the pod."""
        return {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": self.message,
        }


PREEMPTION = Disruption(
    Rejection("Preempting", "Preempted in order to admit critical pod"),
    "Pod was preempted by Kubelet to accommodate a critical pod.",
)


class Candidate(NamedTuple):
    """A pod that runs on the node.

    Attributes:
        key: `namespace/name`.
        uid: UID of the pod.
        qos_class: `status.qosClass`.
        priority: `spec.priority`; None where it has none.
        requested: what the pod holds.
    """

    key: str
    uid: str
    qos_class: str
    priority: int | None
    requested: Amounts

    @classmethod
    def of(cls, pod: Object, requested: Amounts) -> "Candidate":
        """Return a pod that holds resources."""
        metadata, status = pod["metadata"], pod.get("status") or {}
        return cls(
            key(pod),
            metadata["uid"],
            status.get("qosClass") or "BestEffort",
            pod["spec"].get("priority"),
            requested,
        )


def is_critical(priority: int | None) -> bool:
    """Return whether a priority is that of `system-cluster-critical` or higher."""
    return priority is not None and priority >= _SYSTEM_CRITICAL_PRIORITY


def pods_to_preempt(
    preemptor: int | None, pods: Iterable[Candidate], missing: Iterable[InsufficientResource]
) -> list[Candidate] | Rejection:
    """Choose the pods to end.

    Args:
        preemptor: priority of the critical pod.
        pods: the pods that run on the node.
        missing: the resources that the critical pod lacks.

    Returns:
        The pods; a rejection of the critical pod where all pods of lower priority would not free enough.
    """
    lower = [pod for pod in pods if _may_preempt(preemptor, pod.priority)]
    needed = {shortage.resource: shortage.missing for shortage in missing}
    if left := _left(needed, lower):
        return _not_enough(left)
    of_class = {name: [pod for pod in lower if pod.qos_class == name] for name in _CLASSES}
    chosen = lower
    for name in _CLASSES:
        others = [pod for pod in chosen if pod.qos_class != name]
        chosen = [*others, *_fewest(of_class[name], _left(needed, others))]
    return chosen


def _may_preempt(preemptor: int | None, other: int | None) -> bool:
    if is_critical(preemptor) and not is_critical(other):
        return True
    return preemptor is not None and other is not None and preemptor > other


def _left(needed: Amounts, pods: Iterable[Candidate]) -> dict[str, Decimal]:
    """Return what is still missing, resource by resource, once the pods have ended."""
    left = less(needed, total(pod.requested for pod in pods))
    return {name: amount for name, amount in left.items() if amount > 0}


def _fewest(pods: Iterable[Candidate], needed: Amounts) -> list[Candidate]:
    remaining, chosen = list(pods), []
    while needed:
        best = min(remaining, key=lambda pod: (_distance(pod, needed), _size(pod)))
        remaining.remove(best)
        chosen.append(best)
        needed = _left(needed, [best])
    return chosen


def _distance(pod: Candidate, needed: Amounts) -> float:
    """Return how much of the needs a pod leaves open: the squares of the open fractions."""
    return sum(
        max(0.0, float((amount - pod.requested.get(name, Decimal(0))) / amount)) ** 2
        for name, amount in needed.items()
    )


def _size(pod: Candidate) -> tuple[Decimal, ...]:
    return tuple(pod.requested.get(name, Decimal(0)) for name in _DISTURBANCE)


def _not_enough(left: Amounts) -> Rejection:
    listed = "".join(f"(res: {name}, q: {in_units(name, amount)}), " for name, amount in left.items())
    return Rejection(
        "UnexpectedAdmissionError",
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of "
        f"pods to preempt: no set of running pods found to reclaim resources: [{listed}]",
    )
