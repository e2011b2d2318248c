"""Skip identical restart cycles of a pod that was not read for a long time.

The problem: a container in a crash loop changes its status every few minutes. A pod that is read after a year has
missed hundreds of thousands of statuses, and computing each of them would take minutes.

The rule: the restarts of a container are periodic once its back-off has reached the maximum of 300 s, or once its
runs are so long that the back-off is reset after each. Whole periods are skipped: the times in the container's
status move by a multiple of the period, and the restart count and the container IDs by the number of periods. The
last hour and two periods are not skipped, so that the last statuses are computed one by one.

An example: a container that fails after 5 s, with a back-off of 300 s, has a period of 305 s. If 100,000 s have
been missed, 311 periods (94,855 s) are skipped and 311 is added to its restart count.

A pod is skipped as a whole only if each of its containers either is periodic or will not change any more.
Containers can have different periods; each moves to its own first cycle at or after the target time, so the
combined status is valid only from the latest of them on (`consistent_at`).
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes import restart
from app.kubernetes.container_status import container_id
from app.kubernetes.status import ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus
from app.runtimes.synthetic.container import HOOK_ERROR, has_ended_for_good, hook_started_at
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.termination import statuses_of

_NOT_SKIPPED = timedelta(hours=1)


class FastForward(NamedTuple):
    """The state of a pod after a skip.

    Attributes:
        at: the time from which to continue.
        status: the status at that time; the times of some containers can be later than `at`.
        consistent_at: the time from which the combined status of all containers is valid.
    """

    at: datetime
    status: PodStatus
    consistent_at: datetime


class RestartCycle(NamedTuple):
    """The period of a container's restarts in seconds, and the time in its status at which a cycle starts."""

    period: int
    anchor: str


def fast_forward(pod: SimulatedPod, status: PodStatus, *, at: datetime, until: datetime) -> FastForward | None:
    """Skip whole restart cycles, up to an hour and two periods before a time.

    Args:
        pod: the pod.
        status: its status at `at`.
        at: the time of its status.
        until: the time up to which statuses are computed.

    Returns:
        None if a container has yet to reach a periodic or final state, or if there is nothing to skip.
    """
    if pod.failure:
        until = min(until, pod.failure.at)
    if until - at <= _NOT_SKIPPED:
        return None
    cycles: dict[str, RestartCycle] = {}
    for pairs in statuses_of(pod, status):
        for container, container_status in pairs:
            if _is_final(pod, container, container_status, at=at):
                continue
            cycle = _restart_cycle(container, container_status)
            if cycle is None:
                return None
            cycles[container_status.name] = cycle
    target = until - _NOT_SKIPPED - 2 * max((cycle.period for cycle in cycles.values()), default=0) * SECOND
    target = target.replace(microsecond=0)
    if target <= at:
        return None
    consistent_at = target

    def move(container_status: ContainerStatus) -> ContainerStatus:
        nonlocal consistent_at
        if container_status.name not in cycles:
            return container_status
        period, anchor = cycles[container_status.name]
        count = max(0, -((parse_rfc3339(anchor) - target) // (period * SECOND)))
        consistent_at = max(consistent_at, parse_rfc3339(anchor) + count * period * SECOND)
        return _move_by_cycles(container_status, count=count, period=period, pod_uid=pod.uid)

    moved = replace(
        status,
        init_container_statuses=tuple(map(move, status.init_container_statuses)),
        container_statuses=tuple(map(move, status.container_statuses)),
    )
    return FastForward(target, moved, consistent_at)


def _is_final(pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus, *, at: datetime) -> bool:
    """Return whether the status of a container will not change any more, apart from attempts to pull its image."""
    if status.state.terminated:
        return has_ended_for_good(pod, container, status)
    if status.state.waiting:
        is_restarting = status.state.waiting.reason in ("CrashLoopBackOff", HOOK_ERROR)
        return not is_restarting and hook_started_at(status) is None
    running = status.state.running
    if running is None:
        return True
    elapsed = (at - parse_rfc3339(running.started_at)) // SECOND
    return container.plan.next_change(elapsed - 1) is None  # a change that is due at `at` is not applied yet


def _restart_cycle(container: SimulatedContainer, status: ContainerStatus) -> RestartCycle | None:
    """Return the cycle in which a container is restarted; None if the next period differs from the last."""
    last = status.last_state.terminated
    if container.plan.ends is None or last is None or last.finished_at is None:
        return None
    if status.state.waiting:
        is_steady = restart.parse_backoff(status.state.waiting.message) == restart.LONGEST
        return RestartCycle(container.plan.ends + restart.LONGEST, last.finished_at) if is_steady else None
    if status.state.running is None:
        return None
    started_at = status.state.running.started_at
    if container.plan.ends > restart.RESET_AFTER:
        return RestartCycle(container.plan.ends + 1, started_at)
    waited = (parse_rfc3339(started_at) - parse_rfc3339(last.finished_at)) // SECOND
    return RestartCycle(container.plan.ends + restart.LONGEST, started_at) if waited == restart.LONGEST else None


def _move_by_cycles(status: ContainerStatus, *, count: int, period: int, pod_uid: str) -> ContainerStatus:
    """Return the status of a container `count` periods later."""
    shift = count * period * SECOND
    restarts = status.restart_count + count

    def moved(time: str | None) -> str | None:
        return time and rfc3339(parse_rfc3339(time) + shift)

    def ended(state: ContainerStateTerminated | None, *, run: int) -> ContainerStateTerminated | None:
        return state and replace(
            state,
            started_at=moved(state.started_at),
            finished_at=moved(state.finished_at),
            container_id=container_id(pod_uid, status.name, restart_count=run),
        )

    state = status.state
    last_run = restarts
    if state.running:
        state = ContainerState(running=replace(state.running, started_at=moved(state.running.started_at)))
        last_run -= 1
    return replace(
        status,
        state=state,
        last_state=ContainerState(terminated=ended(status.last_state.terminated, run=last_run)),
        restart_count=restarts,
        container_id=container_id(pod_uid, status.name, restart_count=restarts),
    )
