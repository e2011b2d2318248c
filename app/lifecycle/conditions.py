"""The five conditions that a kubelet owns.

Source: `pkg/kubelet/status/generate.go` in Kubernetes, and "Pod conditions" in its documentation. The
order is the one a kubelet writes.
"""

from collections.abc import Iterable

from app.lifecycle.status import ConditionStatus, ContainerStatus, PodCondition


def conditions(
    *,
    sandbox: bool,
    init_containers: Iterable[ContainerStatus],
    containers: Iterable[ContainerStatus],
    at: str,
    previous: Iterable[PodCondition] = (),
    observed_generation: int | None = None,
) -> tuple[PodCondition, ...]:
    """Derive the conditions from the containers.

    Args:
        sandbox: the pod has its sandbox and its network.
        init_containers: their statuses.
        containers: their statuses.
        at: the time of this status, RFC 3339.
        previous: the conditions that held before; a condition keeps its time while its status is the same.
        observed_generation: the generation of the pod that this describes.
    """
    since = {condition.type: condition for condition in previous}

    def condition(type_: str, problem: tuple[str, str] | None = None, *, holds: bool = True) -> PodCondition:
        status: ConditionStatus = "True" if holds and problem is None else "False"
        before = since.get(type_)
        return PodCondition(
            type=type_,
            status=status,
            observed_generation=observed_generation,
            last_probe_time=None,
            last_transition_time=before.last_transition_time if before and before.status == status else at,
            reason=problem[0] if problem else None,
            message=problem[1] if problem else None,
        )

    unready = _names(status.name for status in containers if not status.ready)
    not_ready = ("ContainersNotReady", f"containers with unready status: {unready}") if unready else None
    incomplete = _names(status.name for status in init_containers if not _initialized(status))
    not_initialized = (
        ("ContainersNotInitialized", f"containers with incomplete status: {incomplete}") if incomplete else None
    )
    return (
        condition("PodReadyToStartContainers", holds=sandbox),
        condition("Initialized", not_initialized),
        condition("Ready", not_ready),
        condition("ContainersReady", not_ready),
        condition("PodScheduled"),
    )


def _initialized(status: ContainerStatus) -> bool:
    """A sidecar has done its part once it is started, any other init container once it ended well."""
    terminated = status.state.terminated
    return terminated.exit_code == 0 if terminated else status.started and status.ready


def _names(names: Iterable[str]) -> str:
    """List names as a kubelet's messages do: `[web sidecar]`, or nothing for none."""
    listed = " ".join(names)
    return f"[{listed}]" if listed else ""
