"""In-place resize of pods: the resources that the node has allocated to a pod, and whether it grants others.

A pod that runs keeps its allocated resources until the node has room for the resources of its spec. Until then the
provider and the accounting of resources have the allocated ones, and the pod has the condition `PodResizePending`.

Source: `pkg/kubelet/allocation`, and "Resize CPU and Memory Resources assigned to Containers" in the documentation
of Kubernetes for the reason Infeasible.
"""

from collections.abc import Mapping

import msgspec

from broker.kubernetes.quantity import Amounts, amounts
from broker.node_info import NodeInfo
from broker.pods.admission import Allocated, Rejection, admit, in_units, requests
from broker.pods.conditions import RESIZE_PENDING
from broker.types import Object

DEFERRED, INFEASIBLE = "Deferred", "Infeasible"
_KINDS = ("initContainers", "containers")
_RESIZABLE = ("memory", "cpu")
_POD = ""
"""Stands for the pod as a whole, beside the names of its containers."""

Allocation = Mapping[str, Object]
"""Container name → its `resources`; those of the pod as a whole under the empty name."""


def allocation_in(pod: Object) -> Allocation:
    """Return the resources in a pod, without containers that say nothing about resources."""
    spec = pod.get("spec") or {}
    containers = [container for kind in _KINDS for container in spec.get(kind) or ()]
    found = {c["name"]: c["resources"] for c in containers if isinstance(c.get("resources"), dict)}
    return {_POD: spec["resources"], **found} if isinstance(spec.get("resources"), dict) else found


def is_allocated(pod: Object, allocation: Allocation) -> bool:
    """Return whether a pod's resources are the allocated ones."""
    desired = allocation_in(pod)
    return desired == allocation or all(
        _parsed(desired.get(name, {}), kind) == _parsed(resources, kind)
        for name, resources in allocation.items()
        for kind in ("requests", "limits")
    )


def with_allocation(pod: Object, allocation: Allocation) -> Object:
    """Return a pod with the allocated resources in place of those of its spec."""
    spec = dict(pod["spec"])
    for kind in _KINDS:
        if spec.get(kind):
            spec[kind] = [
                {**c, "resources": allocation[c["name"]]} if c["name"] in allocation else c for c in spec[kind]
            ]
    if _POD in allocation:
        spec["resources"] = allocation[_POD]
    return {**pod, "spec": spec}


def refusal(pod: Object, node: NodeInfo, used: Allocated) -> Rejection | None:
    """Return why the node does not grant the resources of a pod's spec; None where it does.

    Args:
        pod: the pod.
        node: the node.
        used: what all other pods hold.

    Returns:
        The reason Infeasible for more than the node has, else Deferred.
    """
    requested, capacity = requests(pod), amounts(node.allocatable)
    for name in _RESIZABLE:
        if name in capacity and requested.get(name, 0) > capacity[name]:
            wanted, there = in_units(name, requested[name]), in_units(name, capacity[name])
            return Rejection(
                INFEASIBLE, f"Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {there}"
            )
    rejection = admit(pod, node, used)
    return Rejection(DEFERRED, rejection.message) if rejection else None


def pending_condition(pod: Object, why: Rejection) -> Object:
    """Return the condition of a resize that is not granted."""
    return {
        "type": RESIZE_PENDING,
        "status": "True",
        "reason": why.reason,
        "message": why.message,
        "observedGeneration": pod["metadata"].get("generation"),
    }


def summary(pod: Object, error: str = "") -> str:
    """Return the resources of a pod's spec in JSON, as a kubelet's events about a resize have them.

    Args:
        pod: the pod.
        error: why the resize is not granted; empty where it is.
    """
    spec = pod["spec"]
    listed = {
        kind: [{"name": c["name"], "resources": c.get("resources") or {}} for c in spec[kind]]
        for kind in _KINDS
        if spec.get(kind)
    }
    listed |= {"generation": pod["metadata"].get("generation", 0)}
    return msgspec.json.encode({**listed, "error": error} if error else listed).decode()


def _parsed(resources: Object, kind: str) -> Amounts:
    return amounts(resources.get(kind))
