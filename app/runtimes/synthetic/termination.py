"""How a pod ends that does not end by itself: deleted, past its deadline, evicted, on a node that is lost.

Source: `SyncTerminatingPod` and `TerminatePod` of the kubelet, "Termination of Pods" in the Kubernetes
documentation.
Level-triggered, as the rest is.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes import container_status
from app.kubernetes.conditions import ReasonAndMessage
from app.kubernetes.status import ContainerState, ContainerStatus, PodStatus
from app.runtimes.synthetic.container import first_status
from app.runtimes.synthetic.pod import SECOND, PodFailure, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.status import Statuses, build_pod_status

TERMINATED = 143

Pairs = list[tuple[SimulatedContainer, ContainerStatus]]


class Kinds(NamedTuple):
    """The containers of a pod with their statuses, each kind in the order of the spec."""

    init: Pairs
    regular: Pairs
    ephemeral: Pairs


class _Stop(NamedTuple):
    """When a container ends that was told to, and whether by itself."""

    at: datetime
    in_time: bool


def apply_failure(
    pod: SimulatedPod, ending: PodFailure, before: PodStatus, *, at: datetime
) -> tuple[PodStatus, datetime | None]:
    """Let happen to a pod what its life has in store.

    Returns:
        Its status, and when something is to happen next; None where nothing will.
    """
    if ending.reason == "NodeLost":
        return _lose(ending, before, at=at), None
    if ending.reason == "Evicted":
        return _evict(pod, ending, before, at=at), None
    return stop_containers(
        pod, before, asked_at=ending.at, grace=pod.grace, at=at, why=(ending.reason, ending.message)
    )


def stop_containers(
    pod: SimulatedPod,
    before: PodStatus,
    *,
    asked_at: datetime,
    grace: int,
    at: datetime,
    why: ReasonAndMessage | None = None,
) -> tuple[PodStatus, datetime | None]:
    """Bring a pod up to a time after all of its containers were told to end; sidecars are told after the others.

    Args:
        life: its life.
        before: its status until now.
        asked_at: when they were told.
        grace: seconds that they get, all together.
        at: the present.
        why: reason and message of a pod that fails by this; None for one that is deleted.

    Returns:
        Its status, and when something is to happen next; None where it has ended.
    """
    if before.phase == "Unknown":
        return _fail(pod, before, at=at), None
    pairs = statuses_of(pod, before)
    stops = _stops(pod, pairs, asked_at=asked_at.replace(microsecond=0), grace=grace)
    init, regular, ephemeral = (
        tuple([
            stop_container(container, status, at=at, in_time=stops[status.name].in_time)
            if status.name in stops and at >= stops[status.name].at
            else status
            for container, status in kind
        ])
        for kind in pairs
    )  # fmt: skip
    later = [stop_containers.at for stop_containers in stops.values() if stop_containers.at > at]
    if later:
        status = build_pod_status(
            pod, before=before, at=at, init=init, regular=regular, ephemeral=ephemeral, ended=before.phase
        )
        return status, min(later)
    init, regular = _given_up(pod, init, regular)
    has_succeeded = why is None and all(
        status.state.terminated and status.state.terminated.exit_code == 0 for status in regular
    )
    status = build_pod_status(
        pod,
        before=before,
        at=at,
        init=init,
        regular=regular,
        ephemeral=ephemeral,
        ended="Succeeded" if has_succeeded else "Failed",
        why=why,
    )
    return status, None


def stop_container(
    container: SimulatedContainer, status: ContainerStatus, *, at: datetime, in_time: bool
) -> ContainerStatus:
    """End a container that was told to: one that serves ends well, one that had work to do leaves it undone."""
    is_unfinished = container.kind == "init" or container.plan.ends is not None
    code = (TERMINATED if is_unfinished else 0) if in_time else container_status.KILLED
    return container_status.terminated(status, at=rfc3339(at), exit_code=code)


def statuses_of(pod: SimulatedPod, before: PodStatus) -> Kinds:
    """Pair the containers of a pod with their statuses."""
    known = {status.name: status for status in before.all_containers}

    def pairs(parts: Iterable[SimulatedContainer]) -> Pairs:
        return [(container, known.get(container.spec.name) or first_status(pod, container)) for container in parts]

    return Kinds(pairs(pod.init), pairs(pod.regular), pairs(pod.ephemeral))


def settled(status: ContainerStatus) -> ContainerStatus:
    """Describe a container that will not be restarted any more as what it was when it last ended."""
    if not (status.state.waiting and status.last_state.terminated):
        return status
    return replace(status, state=status.last_state, last_state=ContainerState())


def _stops(pod: SimulatedPod, pairs: Kinds, *, asked_at: datetime, grace: int) -> dict[str, _Stop]:
    """Say when each container that runs ends which was told to, and whether by itself."""
    killed_at = asked_at + grace * SECOND

    def stop_of(container: SimulatedContainer, told_at: datetime) -> _Stop:
        ends_at = told_at + container.overrides.stop_after * SECOND
        return _Stop(min(ends_at, killed_at), in_time=grace > 0 and ends_at <= killed_at)

    stops = {
        status.name: stop_of(container, asked_at)
        for kind in pairs
        for container, status in kind
        if status.state.running and container.kind != "sidecar"
    }
    ends = [stops[status.name].at for _, status in pairs.regular if status.name in stops]
    ends += [
        parse_rfc3339(status.state.terminated.finished_at)
        for _, status in pairs.regular
        if status.state.terminated and status.state.terminated.finished_at
    ]
    told_at = max([asked_at, *ends])
    for container, status in pairs.init:
        if status.state.running and container.kind == "sidecar":
            stops[status.name] = stop_of(container, told_at)
    return stops


def _given_up(pod: SimulatedPod, init: Statuses, regular: Statuses) -> tuple[Statuses, Statuses]:
    """Say of each container that did not run in the end what a kubelet says when it looks for it in vain.

    Those that were never tried, because the init containers before them were not done, go on waiting.
    """
    init, regular = tuple(map(settled, init)), tuple(map(settled, regular))
    tried = max((index for index, status in enumerate(init) if not status.state.waiting), default=0)
    init = tuple(
        container_status.lost(status) if status.state.waiting and index <= tried else status
        for index, status in enumerate(init)
    )
    is_initialized = not init or any(not status.state.waiting for status in regular) or _is_done(pod, init)
    if is_initialized:
        regular = tuple(container_status.lost(status) if status.state.waiting else status for status in regular)
    return init, regular


def _is_done(pod: SimulatedPod, init: Statuses) -> bool:
    ended = init[-1].state.terminated
    return pod.init[-1].kind == "init" and ended is not None and ended.exit_code == 0


def _evict(pod: SimulatedPod, ending: PodFailure, before: PodStatus, *, at: datetime) -> PodStatus:
    """Every container that has not ended is killed at once, and the pod fails."""
    also = [("DisruptionTarget", ("TerminationByKubelet", ending.message))]
    return _fail(pod, before, at=at, why=(ending.reason, ending.message), also=also)


def _fail(
    pod: SimulatedPod,
    before: PodStatus,
    *,
    at: datetime,
    why: ReasonAndMessage | None = None,
    also: Iterable[tuple[str, ReasonAndMessage | None]] = (),
) -> PodStatus:
    """Nobody knows how the containers ended that had not yet."""
    known = {
        status.name: status if status.state.terminated else container_status.lost(settled(status))
        for status in before.all_containers
    }
    init, regular, ephemeral = (
        tuple([known.get(container.spec.name, status) for container, status in pairs])
        for pairs in statuses_of(pod, before)
    )
    return build_pod_status(
        pod,
        before=before,
        at=at,
        init=init,
        regular=regular,
        ephemeral=ephemeral,
        ended="Failed",
        why=why,
        also=also,
    )


def _lose(ending: PodFailure, before: PodStatus, *, at: datetime) -> PodStatus:
    """The node is silent: what it said last stays, but nobody counts on the pod any more.

    Source: the node lifecycle controller, which marks the pod as not ready, and `NodeUnreachablePodReason`.
    """
    conditions = tuple(
        replace(condition, status="False", last_transition_time=rfc3339(at))
        if condition.type == "Ready" and condition.status == "True"
        else condition
        for condition in before.conditions
    )
    return replace(before, phase="Unknown", reason=ending.reason, message=ending.message, conditions=conditions)
