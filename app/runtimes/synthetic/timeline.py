"""Compute the timeline of a simulated pod: its statuses, each with the time from which it holds.

The problem: several processes serve the same pods and any of them can be restarted at any time, so no process can
hold a timer for a pod. A status must also be the same whichever process computes it.

The rule: the timeline is computed when the pod is created, updated or deleted, and stored. A reader takes the last
status whose time has come; nothing runs in between. Most timelines end, with a terminal phase or a pod that runs
until it is deleted. A timeline without an end, such as a crash loop, is computed up to `MAX_UPCOMING` statuses
ahead; its `continues_at` is the time from which :func:`advance` computes more, when the pod is next read.

An example: a pod with `START_DELAY=2s` and a Job's container that runs for 5 s. Its timeline is complete when it
is created: Pending at 0 s (without, then with a sandbox at 1 s), Running at 2 s, Succeeded at 7 s.

A pod that is read after a long time has missed statuses. They are computed from the last stored one, by the same
steps; :mod:`fast_forward <app.runtimes.synthetic.fast_forward>` skips identical restart cycles.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

from app.kubernetes.status import Transition
from app.runtimes.base import Timeline
from app.runtimes.synthetic.fast_forward import fast_forward
from app.runtimes.synthetic.pod import SECOND, SimulatedPod
from app.runtimes.synthetic.restart_all import restart_all_at, skip_restarts
from app.runtimes.synthetic.sync import SyncResult, sync_pod
from app.runtimes.synthetic.termination import stop_containers

MAX_UPCOMING = 32
"""The maximum number of future statuses that are computed at a time."""
MAX_MISSED = 32
"""The maximum number of missed statuses that are returned: the latest ones."""


def create(pod: SimulatedPod, *, now: datetime) -> Timeline:
    """Return the timeline of a new pod."""
    return _compute_ahead(pod, sync_pod(pod, None, at=now), at=now)


def update(pod: SimulatedPod, *, before: SimulatedPod, current: Transition, now: datetime) -> Timeline:
    """Return the timeline of a pod that is updated.

    The statuses missed since `current` are computed for the pod before the update. The update then applies to
    running containers too: a container whose `run-for` is changed from an hour to a minute ends at once if it has
    been running for two minutes.

    Args:
        pod: the pod from now on.
        before: the pod until now.
        current: the last status that is stored.
        now: the time of the update.

    Returns:
        Transitions from `now` on. The status of the first can equal the current one.
    """
    status = _catch_up(before, current, now=now - datetime.resolution).result.status
    return _compute_ahead(pod, sync_pod(pod, status, at=now), at=now)


def advance(pod: SimulatedPod, *, current: Transition, now: datetime) -> Timeline | None:
    """Return the continuation of a timeline.

    At most the last `MAX_MISSED` statuses before `now` are returned, and none of skipped restart cycles; the
    counts of restarts and `lastState` include all of them.

    Returns:
        Transitions later than `current`; None if the timeline is complete.
    """
    missed, (status, due) = _catch_up(pod, current, now=now)
    last = missed[-1] if missed else current
    if due is None:
        return Timeline(missed, problems=pod.problems) if missed else None
    upcoming = _compute_ahead(pod, SyncResult(status, due), at=last.effective_at)
    return upcoming._replace(transitions=missed + upcoming.transitions[1:])


def delete(
    pod: SimulatedPod,
    *,
    current: Transition,
    grace: timedelta,
    now: datetime,
    requested_at: datetime | None = None,
    is_current: bool = False,
) -> Timeline:
    """Return the complete timeline of the termination of a pod whose deletion was requested.

    Args:
        pod: the pod.
        current: the last status that is stored; the statuses missed since then are computed first.
        grace: the grace period from SIGTERM on; it ends at a whole second.
        now: the time of the request.
        requested_at: the time of the first request, and of SIGTERM, if this one shortens its grace period.
        is_current: whether no status was missed since then.

    Returns:
        Transitions from `now` on; none if the pod has already ended.
    """
    status = current.status
    if requested_at is None and not is_current:
        status = _catch_up(pod, current, now=now - datetime.resolution).result.status
    stopped_at = requested_at or now
    seconds = ((stopped_at + grace).replace(microsecond=0) - stopped_at.replace(microsecond=0)) // SECOND
    transitions: list[Transition] = []
    at: datetime | None = now
    while at and not status.is_terminal:
        before, since = status, at
        status, at = stop_containers(pod, before, stopped_at=stopped_at, grace=seconds, at=since)
        if status != before:
            transitions.append(Transition(since, status))
    return Timeline(transitions)


class _CaughtUp(NamedTuple):
    missed: list[Transition]
    result: SyncResult


def _catch_up(pod: SimulatedPod, current: Transition, *, now: datetime) -> _CaughtUp:
    """Compute the statuses from the last stored one up to and including `now`.

    The status after a fast-forward can combine containers at different points of their cycles. Statuses before
    `consistent_at` are therefore not returned.
    """
    missed: deque[Transition] = deque(maxlen=MAX_MISSED)
    status, due = current.status, sync_pod(pod, current.status, at=current.effective_at).due
    consistent_at = current.effective_at
    reset: Transition | None = None
    while due and due <= now:
        at = due
        if skipped := fast_forward(pod, status, at=at, until=now):
            at, status, consistent_at = skipped
            missed.clear()
        before = status
        status, due = sync_pod(pod, before, at=at)
        if (restart_at := restart_all_at(pod, before)) and restart_at <= at:
            if reset and (moved := skip_restarts(pod, reset, Transition(at, status), until=now)):
                at, status = moved
                due = sync_pod(pod, status, at=at).due
                missed.clear()
            reset = Transition(at, status)
        if status != before and at > consistent_at:
            missed.append(Transition(at, status))
    return _CaughtUp(list(missed), SyncResult(status, due))


def _compute_ahead(pod: SimulatedPod, first: SyncResult, *, at: datetime) -> Timeline:
    """Compute the statuses after the first one, up to the end of the timeline or `MAX_UPCOMING` statuses."""
    status, due = first
    transitions = [Transition(at, status)]
    while due and len(transitions) < MAX_UPCOMING:
        at = due
        before = status
        status, due = sync_pod(pod, before, at=at)
        if status != before:
            transitions.append(Transition(at, status))
    return Timeline(transitions, due, pod.problems)
