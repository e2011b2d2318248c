"""In-place resize: what a container was given, and what it has by now.

Source: "Resize CPU and Memory Resources assigned to Containers" in the Kubernetes documentation, and
`allocation_manager.go` of the kubelet. A resize that the node takes on shows at once in `allocatedResources`,
a second later in `resources`; until then the pod has the condition `PodResizeInProgress`. One that is more than
the whole node has is `Infeasible`.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from app.core.quantity import parse_quantity
from app.kubernetes.conditions import ReasonAndMessage
from app.kubernetes.phase import ContainerPair
from app.kubernetes.pod import Container, Resources
from app.kubernetes.status import ContainerStatus, ResourceStatus

IN_PROGRESS = "PodResizeInProgress"
_NO_RESOURCES = ResourceStatus()
_RESIZABLE = ("cpu", "memory")


def resources(container: Container) -> ResourceStatus:
    """Give the resources that a container asks for."""
    asked = container.resources
    if asked is None or not (asked.requests or asked.limits):
        return _NO_RESOURCES
    return ResourceStatus(limits=_as_text(asked.limits), requests=_as_text(asked.requests))


def allocate(
    container: Container, status: ContainerStatus, *, capacity: Mapping[str, str]
) -> tuple[ContainerStatus, bool]:
    """Take a resize on, unless it is infeasible. Say too whether `resources` has yet to follow."""
    wanted = resources(container)
    if status.resources == wanted or exceeded(wanted, capacity):
        return status, False
    return replace(status, allocated_resources=wanted.requests), True


def needs_restart(container: Container, status: ContainerStatus) -> bool:
    """Say whether the container must be restarted to have what it asks for."""
    had, wanted = status.resources or _NO_RESOURCES, resources(container)
    return any(
        policy.restart_policy == "RestartContainer"
        and any(
            (old or {}).get(policy.resource_name) != (new or {}).get(policy.resource_name)
            for old, new in ((had.limits, wanted.limits), (had.requests, wanted.requests))
        )
        for policy in container.resize_policy or ()
    )


def exceeded(wanted: ResourceStatus, capacity: Mapping[str, str]) -> str | None:
    """Name the resource of which a container requests more than the node has."""
    for name in _RESIZABLE:
        with suppress(KeyError, ValueError):
            if parse_quantity((wanted.requests or {})[name]) > parse_quantity(capacity[name]):
                return name
    return None


def resize_conditions(
    pairs: Iterable[ContainerPair], capacity: Mapping[str, str]
) -> Iterable[tuple[str, ReasonAndMessage | None]]:
    """Give the conditions of the resizes that are under way or cannot be."""
    open_ = [
        exceeded(wanted, capacity)
        for container, status in pairs
        if status.state.running and status.resources != (wanted := resources(container))
    ]
    for name in filter(None, open_):
        yield "PodResizePending", ("Infeasible", f"Node didn't have enough capacity: {name}")
        break
    if None in open_:
        yield IN_PROGRESS, None


def _as_text(asked: Resources | None) -> dict[str, str] | None:
    return {name: str(quantity) for name, quantity in asked.items()} if asked else None
