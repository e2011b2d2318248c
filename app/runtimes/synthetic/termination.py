"""Terminate a pod that is deleted, exceeds its deadline, is evicted, or whose node is lost.

A deletion and an exceeded deadline stop the containers; :mod:`stop_order <app.runtimes.synthetic.stop_order>`
computes when each of them ends. An eviction kills every container at once. A lost node changes nothing but the
phase and the readiness.

The computation is level-triggered, as in :mod:`app.runtimes.synthetic.sync`.

Source: `SyncTerminatingPod` and `TerminatePod` of the kubelet, "Termination of Pods" in the Kubernetes
    documentation.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from app.core.timestamps import rfc3339
from app.kubernetes.conditions import ReasonAndMessage
from app.kubernetes.container_status import (
    ContainerStatuses,
    lost,
    terminated,
    with_lost_containers,
    without_restart,
)
from app.kubernetes.status import ContainerStatus, Phase, PodStatus
from app.runtimes.synthetic.container import first_status, hook_started_at, start_run
from app.runtimes.synthetic.pod import PodFailure, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.status import build_pod_status
from app.runtimes.synthetic.stop_order import ContainersByKind, Pairs, Stop, plan_stops


def apply_failure(
    pod: SimulatedPod, failure: PodFailure, before: PodStatus, *, at: datetime
) -> tuple[PodStatus, datetime | None]:
    """Apply the scheduled failure of a pod.

    Returns:
        The status at `at`, and the time of the next change; None if the pod has ended.
    """
    if failure.reason == "NodeLost":
        return _node_lost(failure, before, at=at), None
    if failure.reason == "Evicted":
        return _evicted(pod, failure, before, at=at), None
    why = failure.reason, failure.message
    return stop_containers(pod, before, stopped_at=failure.at, grace=pod.grace, at=at, why=why)


def stop_containers(
    pod: SimulatedPod,
    before: PodStatus,
    *,
    stopped_at: datetime,
    grace: int,
    at: datetime,
    why: ReasonAndMessage | None = None,
) -> tuple[PodStatus, datetime | None]:
    """Return the status of a pod whose containers are being stopped.

    Args:
        pod: the pod.
        before: its previous status.
        stopped_at: the time of SIGTERM.
        grace: the grace period of all containers together, in seconds.
        at: the time of the status.
        why: the reason and message of a pod that fails; None for a pod that is deleted.

    Returns:
        The status at `at`, and the time of the next change; None if the pod has ended.
    """
    if before.phase == "Unknown":
        return _failed(pod, before, at=at), None
    pairs = _with_hooks_as_running(pod, statuses_of(pod, before))
    stops = plan_stops(pairs, stopped_at=stopped_at.replace(microsecond=0), grace=grace)

    def stopped(container: SimulatedContainer, status: ContainerStatus) -> ContainerStatus:
        stop = stops.get(status.name)
        return stop_container(container, status, stop, at=at) if stop and at >= stop.at else status

    statuses = ContainerStatuses(*[[stopped(*pair) for pair in kind] for kind in pairs])
    upcoming = [stop.at for stop in stops.values() if stop.at > at]
    if upcoming:
        return build_pod_status(pod, statuses, before=before, at=at, phase=before.phase), min(upcoming)
    statuses = with_lost_containers(pod.definition.spec, statuses)
    has_succeeded = why is None and all(
        status.state.terminated and status.state.terminated.exit_code == 0 for status in statuses.regular
    )
    phase: Phase = "Succeeded" if has_succeeded else "Failed"
    return build_pod_status(pod, statuses, before=before, at=at, phase=phase, why=why), None


def stop_container(
    container: SimulatedContainer, status: ContainerStatus, stop: Stop, *, at: datetime
) -> ContainerStatus:
    """Return the status of a running container that ends at `at` because it was stopped."""
    ended = terminated(status, at=rfc3339(at), exit_code=stop.exit_code, reason=stop.reason)
    return replace(ended, ready=container.kind == "init" and stop.exit_code == 0)


def statuses_of(pod: SimulatedPod, before: PodStatus) -> ContainersByKind:
    """Pair the containers of a pod with their statuses."""
    known = {status.name: status for status in before.all_containers}

    def pairs(containers: Iterable[SimulatedContainer]) -> Pairs:
        return [(c, known.get(c.spec.name) or first_status(pod, c)) for c in containers]

    return ContainersByKind(pairs(pod.init), pairs(pod.regular), pairs(pod.ephemeral))


def _with_hooks_as_running(pod: SimulatedPod, pairs: ContainersByKind) -> ContainersByKind:
    """Report each container whose postStart hook runs as running, since it is stopped as such."""

    def running(container: SimulatedContainer, status: ContainerStatus) -> ContainerStatus:
        started_at = hook_started_at(status)
        return status if started_at is None else start_run(pod, container, status, at=started_at)

    return ContainersByKind(*([(c, running(c, status)) for c, status in kind] for kind in pairs))


def _evicted(pod: SimulatedPod, failure: PodFailure, before: PodStatus, *, at: datetime) -> PodStatus:
    """Return the status of an evicted pod: every container is killed at once, and the pod has failed."""
    also = [("DisruptionTarget", ("TerminationByKubelet", failure.message))]
    return _failed(pod, before, at=at, why=(failure.reason, failure.message), also=also)


def _failed(
    pod: SimulatedPod,
    before: PodStatus,
    *,
    at: datetime,
    why: ReasonAndMessage | None = None,
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> PodStatus:
    """Return the status of a failed pod. The exit codes of containers that had not ended are unknown."""
    known = {
        status.name: status if status.state.terminated else lost(without_restart(status))
        for status in before.all_containers
    }
    statuses = ContainerStatuses(
        *[[known.get(status.name, status) for _, status in kind] for kind in statuses_of(pod, before)]
    )
    return build_pod_status(pod, statuses, before=before, at=at, phase="Failed", why=why, also=also)


def _node_lost(failure: PodFailure, before: PodStatus, *, at: datetime) -> PodStatus:
    """Return the status of a pod on a lost node: the last reported one, with phase Unknown and not ready.

    Source: the node lifecycle controller, which marks the pod as not ready, and `NodeUnreachablePodReason`.
    """
    conditions = tuple(
        replace(condition, status="False", last_transition_time=rfc3339(at))
        if condition.type == "Ready" and condition.status == "True"
        else condition
        for condition in before.conditions
    )
    return replace(before, phase="Unknown", reason=failure.reason, message=failure.message, conditions=conditions)
