"""Derive the phase of a pod.

Source: `getPhase` of the kubelet, "Pod phase" in the Kubernetes documentation.
"""

from collections.abc import Iterable

from app.kubernetes.pod import Container, PodSpec
from app.kubernetes.restart import RESTARTING_ALL, should_restart
from app.kubernetes.status import ContainerStateTerminated, ContainerStatus, Phase

ContainerPair = tuple[Container, ContainerStatus]


def pod_phase(spec: PodSpec, *, init: Iterable[ContainerPair], regular: Iterable[ContainerPair]) -> Phase:
    """Return the phase that follows from the containers; ephemeral containers do not count.

    Args:
        spec: the pod's spec.
        init: the init containers, sidecars among them, with their statuses.
        regular: the containers, with their statuses.
    """
    regular = list(regular)
    has_started = any(status.container_id for _, status in regular)
    is_running = is_pending = False
    for container, status in init:
        is_sidecar = container.restart_policy == "Always"
        ended = status.state.terminated or status.last_state.terminated
        if is_sidecar:
            is_running |= status.state.running is not None
            is_pending |= not has_started and not (status.started if status.state.running else ended)
        elif status.state.running or ended is None:
            is_pending = True
        elif ended.exit_code and not _restarts(container, spec, ended):
            return "Failed"
        else:
            is_pending |= bool(ended.exit_code) and not has_started
    ends: list[tuple[Container, ContainerStateTerminated]] = []
    for container, status in regular:
        ended = status.state.terminated or (status.last_state.terminated if status.state.waiting else None)
        if status.state.running:
            is_running = True
        elif ended:
            ends.append((container, ended))
        else:
            is_pending = True
    if is_pending:
        return "Pending"
    if is_running or any(_restarts(container, spec, end) for container, end in ends):
        return "Running"
    return "Failed" if any(end.exit_code for _, end in ends) else "Succeeded"


def _restarts(container: Container, spec: PodSpec, ended: ContainerStateTerminated) -> bool:
    return ended.reason == RESTARTING_ALL or should_restart(container, spec, exit_code=ended.exit_code)
