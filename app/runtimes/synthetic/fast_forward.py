"""A long time that nobody looked at, without living through every restart in it.

A container that is restarted again and again does so in equal periods, once its back-off is at its longest or
its runs are long enough for none. Whole periods can be skipped: its times move, its restarts are counted.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes import restart
from app.kubernetes.container_status import container_id
from app.kubernetes.status import ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus
from app.runtimes.synthetic.container import is_over
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.termination import statuses_of

_LIVED_THROUGH = timedelta(hours=1)


class FastForward(NamedTuple):
    """Where a pod is after a skip.

    Attributes:
        at: the time to go on from.
        status: its status then, where containers may yet be about to begin what it tells of them.
        whole_at: from when on its status is true again.
    """

    at: datetime
    status: PodStatus
    whole_at: datetime


class RestartCycle(NamedTuple):
    """A container's way round: how many seconds it takes, and the time in its status from which it is counted."""

    period: int
    anchor: str


def fast_forward(pod: SimulatedPod, status: PodStatus, *, at: datetime, until: datetime) -> FastForward | None:
    """Skip what is the same again and again, up to an hour and a few periods before a time.

    Args:
        life: the pod's life.
        status: its status at `at`.
        at: the time of its status.
        until: where to.

    Returns:
        None where something else is still to happen first, or there is nothing to skip.
    """
    if pod.failure:
        until = min(until, pod.failure.at)
    if until - at <= _LIVED_THROUGH:
        return None
    laps: dict[str, RestartCycle] = {}
    for pairs in statuses_of(pod, status):
        for container, now in pairs:
            if _is_at_rest(pod, container, now, at=at):
                continue
            lap = _restart_cycle(container, now)
            if lap is None:
                return None
            laps[now.name] = lap
    target = until - _LIVED_THROUGH - 2 * max((lap.period for lap in laps.values()), default=0) * SECOND
    target = target.replace(microsecond=0)
    if target <= at:
        return None
    whole_at = target

    def later(now: ContainerStatus) -> ContainerStatus:
        nonlocal whole_at
        if now.name not in laps:
            return now
        period, anchor = laps[now.name]
        rounds = max(0, -((parse_rfc3339(anchor) - target) // (period * SECOND)))
        whole_at = max(whole_at, parse_rfc3339(anchor) + rounds * period * SECOND)
        return _later(now, rounds=rounds, period=period, pod_uid=pod.uid)

    moved = replace(
        status,
        init_container_statuses=tuple(map(later, status.init_container_statuses)),
        container_statuses=tuple(map(later, status.container_statuses)),
    )
    return FastForward(target, moved, whole_at)


def _is_at_rest(pod: SimulatedPod, container: SimulatedContainer, now: ContainerStatus, *, at: datetime) -> bool:
    """Say whether nothing more will happen to a container, but that its image is tried to be pulled again."""
    if now.state.terminated:
        return is_over(pod, container, now)
    if now.state.waiting:
        return now.state.waiting.reason != "CrashLoopBackOff"
    running = now.state.running
    # What falls due right now is still to come.
    return running is None or container.plan.next((at - parse_rfc3339(running.started_at)) // SECOND - 1) is None


def _restart_cycle(container: SimulatedContainer, now: ContainerStatus) -> RestartCycle | None:
    """Give the period in which a container is restarted; None where the next one differs from the last."""
    last = now.last_state.terminated
    if container.plan.ends is None or last is None or last.finished_at is None:
        return None
    if now.state.waiting:
        is_steady = restart.parse_backoff(now.state.waiting.message) == restart.LONGEST
        return RestartCycle(container.plan.ends + restart.LONGEST, last.finished_at) if is_steady else None
    if now.state.running is None:
        return None
    started_at = now.state.running.started_at
    if container.plan.ends > restart.RESET_AFTER:
        return RestartCycle(container.plan.ends + 1, started_at)
    waited = (parse_rfc3339(started_at) - parse_rfc3339(last.finished_at)) // SECOND
    return RestartCycle(container.plan.ends + restart.LONGEST, started_at) if waited == restart.LONGEST else None


def _later(now: ContainerStatus, *, rounds: int, period: int, pod_uid: str) -> ContainerStatus:
    """Describe a container as it is so many periods later."""
    shift = rounds * period * SECOND
    restarts = now.restart_count + rounds

    def moved(time: str | None) -> str | None:
        return time and rfc3339(parse_rfc3339(time) + shift)

    def ended(state: ContainerStateTerminated | None, *, run: int) -> ContainerStateTerminated | None:
        return state and replace(
            state,
            started_at=moved(state.started_at),
            finished_at=moved(state.finished_at),
            container_id=container_id(pod_uid, now.name, restart_count=run),
        )

    state = now.state
    last_run = restarts
    if state.running:
        state = ContainerState(running=replace(state.running, started_at=moved(state.running.started_at)))
        last_run -= 1
    return replace(
        now,
        state=state,
        last_state=ContainerState(terminated=ended(now.last_state.terminated, run=last_run)),
        restart_count=restarts,
        container_id=container_id(pod_uid, now.name, restart_count=restarts),
    )
