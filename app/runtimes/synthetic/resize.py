"""In-place resize: the allocated and the actual resources of a container.

Source: "Resize CPU and Memory Resources assigned to Containers" in the Kubernetes documentation, and
`allocation_manager.go` of the kubelet. An accepted resize appears at once in `allocatedResources` and a second
later in `resources`; until then the pod has the condition `PodResizeInProgress`. A resize that exceeds the node's
capacity is `Infeasible`.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from app.core.quantity import parse_quantity
from app.kubernetes.conditions import ReasonAndMessage
from app.kubernetes.phase import ContainerPair
from app.kubernetes.pod import Container
from app.kubernetes.resources import resource_status
from app.kubernetes.status import ContainerStatus, ResourceStatus

IN_PROGRESS = "PodResizeInProgress"
_NO_RESOURCES = ResourceStatus()
_RESIZABLE = ("cpu", "memory")


def resources(container: Container) -> ResourceStatus:
    """Return the requests and limits of a container's spec."""
    return resource_status(container.resources) or _NO_RESOURCES


def allocate(
    container: Container, status: ContainerStatus, *, capacity: Mapping[str, str]
) -> tuple[ContainerStatus, bool]:
    """Return the status with the requested resources allocated, and whether `resources` has yet to be updated.

    An infeasible resize leaves the status unchanged.
    """
    requested = resources(container)
    if status.resources == requested or exceeded(requested, capacity):
        return status, False
    return replace(status, allocated_resources=requested.requests), True


def needs_restart(container: Container, status: ContainerStatus) -> bool:
    """Return whether the resize policy of the container demands a restart for the requested resources."""
    actual, requested = status.resources or _NO_RESOURCES, resources(container)
    return any(
        policy.restart_policy == "RestartContainer"
        and any(
            (old or {}).get(policy.resource_name) != (new or {}).get(policy.resource_name)
            for old, new in ((actual.limits, requested.limits), (actual.requests, requested.requests))
        )
        for policy in container.resize_policy or ()
    )


def exceeded(requested: ResourceStatus, capacity: Mapping[str, str]) -> str | None:
    """Return the name of a resource whose request exceeds the node's capacity; None if there is none."""
    for name in _RESIZABLE:
        with suppress(KeyError, ValueError):
            if parse_quantity((requested.requests or {})[name]) > parse_quantity(capacity[name]):
                return name
    return None


def resize_conditions(
    pairs: Iterable[ContainerPair], capacity: Mapping[str, str]
) -> Iterable[tuple[str, ReasonAndMessage | None]]:
    """Yield the conditions of resizes that are in progress or infeasible."""
    pending = [
        exceeded(requested, capacity)
        for container, status in pairs
        if status.state.running and status.resources != (requested := resources(container))
    ]
    for name in filter(None, pending):
        yield "PodResizePending", ("Infeasible", f"Node didn't have enough capacity: {name}")
        break
    if None in pending:
        yield IN_PROGRESS, None
