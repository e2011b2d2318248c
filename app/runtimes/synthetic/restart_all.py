"""Restart all containers of a pod because of the end of one, the action `RestartAllContainers`.

A second after such an end all containers are removed, init containers and sidecars included, and the pod starts
again with its first init container. There is no back-off.

Every such restart leads to the next in the same way, so after two of them any number can be skipped: the times
move by a multiple of the period, and the restart counts by the number of periods.

Source: `computePodActions` of the kubelet.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes.container_status import container_id, reset
from app.kubernetes.restart import restarts_all
from app.kubernetes.status import ContainerState, ContainerStatus, PodCondition, PodStatus, Transition
from app.runtimes.synthetic.pod import SECOND, SimulatedPod

_NOT_SKIPPED = timedelta(hours=1)


def restart_all_at(pod: SimulatedPod, status: PodStatus) -> datetime | None:
    """Return the time at which all containers are restarted; None unless a container ended that requests it."""
    with_rules = [container for container in (*pod.init, *pod.regular) if container.spec.restart_policy_rules]
    if not with_rules:
        return None
    known = {entry.name: entry.state.terminated for entry in status.all_containers}
    ends = [
        parse_rfc3339(ended.finished_at)
        for container in with_rules
        if (ended := known.get(container.spec.name))
        and ended.finished_at
        and restarts_all(container.spec, exit_code=ended.exit_code)
    ]
    return min(ends) + SECOND if ends else None


def reset_containers(status: PodStatus) -> PodStatus:
    """Return the status of a pod whose containers are removed, except for the ephemeral ones."""
    return replace(
        status,
        init_container_statuses=tuple(map(reset, status.init_container_statuses)),
        container_statuses=tuple(map(reset, status.container_statuses)),
    )


def skip_restarts(
    pod: SimulatedPod, first: Transition, second: Transition, *, until: datetime
) -> Transition | None:
    """Skip whole periods between two restarts of all containers, up to an hour before a time.

    Args:
        pod: the pod.
        first: the time of a restart, and the status then.
        second: the same of the next restart.
        until: the time up to which statuses are computed.

    Returns:
        The state at a later restart; None if there is nothing to skip, or if the two restarts differ.
    """
    period = second.effective_at - first.effective_at
    if pod.failure:
        until = min(until, pod.failure.at)
    count = (until - _NOT_SKIPPED - second.effective_at) // period
    names = [container.spec.name for container in (*pod.init, *pod.regular)]
    pairs = [(first.status.container(name), second.status.container(name)) for name in names]
    if count <= 0 or not all(before and _is_repeated(before, after, period) for before, after in pairs):
        return None
    restarts = {
        after.name: count * (after.restart_count - before.restart_count)
        for before, after in pairs
        if before and after
    }

    def moved(entry: ContainerStatus) -> ContainerStatus:
        return _moved(entry, restarts=restarts[entry.name], shift=count * period, pod_uid=pod.uid)

    def moved_condition(condition: PodCondition) -> PodCondition:
        at = parse_rfc3339(condition.last_transition_time)
        if at <= first.effective_at:
            return condition
        return replace(condition, last_transition_time=rfc3339(at + count * period))

    return Transition(
        second.effective_at + count * period,
        replace(
            second.status,
            conditions=tuple(map(moved_condition, second.status.conditions)),
            init_container_statuses=tuple(map(moved, second.status.init_container_statuses)),
            container_statuses=tuple(map(moved, second.status.container_statuses)),
        ),
    )


def _is_repeated(before: ContainerStatus, after: ContainerStatus | None, period: timedelta) -> bool:
    """Return whether a container is in the same state after two restarts."""
    if after is None or (before.state.waiting, before.last_state) != (after.state.waiting, after.last_state):
        return False
    if before.state.running and after.state.running:
        since = [parse_rfc3339(entry.state.running.started_at) for entry in (before, after) if entry.state.running]
        return since[1] - since[0] == period
    return not (before.state.running or after.state.running)


def _moved(status: ContainerStatus, *, restarts: int, shift: timedelta, pod_uid: str) -> ContainerStatus:
    def later(time: str | None) -> str | None:
        return time and rfc3339(parse_rfc3339(time) + shift)

    state, restart_count = status.state, status.restart_count + restarts
    own_id = status.container_id and container_id(pod_uid, status.name, restart_count=restart_count)
    if running := state.running:
        state = ContainerState(running=replace(running, started_at=later(running.started_at)))
    if ended := state.terminated:
        times = {"started_at": later(ended.started_at), "finished_at": later(ended.finished_at)}
        state = ContainerState(terminated=replace(ended, container_id=own_id, **times))
    return replace(status, state=state, restart_count=restart_count, container_id=own_id)
