"""The course of a pod's life: every status it will have, each with the time from which it holds.

It is computed when the pod arrives or changes, and stored: whoever asks later, through any worker and after
any restart, reads the last status whose time has come. A course without an end is computed a stretch ahead,
and goes on from its last status when somebody reads it later.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

from app.kubernetes.status import Transition
from app.runtimes.base import Timeline
from app.runtimes.synthetic.fast_forward import fast_forward
from app.runtimes.synthetic.pod import SECOND, SimulatedPod
from app.runtimes.synthetic.sync import SyncResult, sync_pod
from app.runtimes.synthetic.termination import stop_containers

AHEAD = 32
"""At most so many statuses of the future are computed at a time."""
MISSED = 32
"""At most so many statuses are told of a past that nobody looked at: the last ones."""


def create(pod: SimulatedPod, *, now: datetime) -> Timeline:
    """Compute the course of a pod that arrives."""
    return _compute_ahead(pod, sync_pod(pod, None, at=now), at=now)


def update(pod: SimulatedPod, *, before: SimulatedPod, current: Transition, now: datetime) -> Timeline:
    """Compute the course of a pod that is changed.

    Args:
        pod: its life from now on. What it says counts for what is under way too: a container that was to run
            for an hour and is now to run for a minute ends at once, where it has run for that long.
        before: its life as it was until now.
        current: the last status that is stored; one that should have gone on since goes on first.
        now: the time of the change.

    Returns:
        Transitions from `now` on, the first perhaps with the status that holds already.
    """
    status = _catch_up(before, current, now=now - datetime.resolution).result.status
    return _compute_ahead(pod, sync_pod(pod, status, at=now), at=now)


def advance(pod: SimulatedPod, *, current: Transition, now: datetime) -> Timeline | None:
    """Compute how a course goes on after its last status.

    Where nobody has looked for long, the last `MISSED` statuses before `now` are told at most, and of whole hours
    of a crash loop none; what else happened is in the counts of restarts and in `lastState`.

    Returns:
        Transitions later than `current`; None where nothing more is to come.
    """
    missed, (status, due) = _catch_up(pod, current, now=now)
    last = missed[-1] if missed else current
    if due is None:
        return Timeline(missed, problems=pod.problems) if missed else None
    upcoming = _compute_ahead(pod, SyncResult(status, due), at=last.effective_at)
    return upcoming._replace(transitions=missed + upcoming.transitions[1:])


def delete(pod: SimulatedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
    """Compute how a pod ends that is deleted: all of it, for its containers end in time or are killed.

    Args:
        pod: its life.
        current: the last status that is stored; one that should have gone on since goes on first.
        grace: what its containers get to end by themselves, in whole seconds.
        now: the time of the deletion.

    Returns:
        Transitions from `now` on; none where it has ended already.
    """
    status = _catch_up(pod, current, now=now - datetime.resolution).result.status
    transitions: list[Transition] = []
    at: datetime | None = now
    while at and not status.is_terminal:
        before, since = status, at
        status, at = stop_containers(pod, before, asked_at=now, grace=max(0, grace // SECOND), at=since)
        if status != before:
            transitions.append(Transition(since, status))
    return Timeline(transitions)


class _CaughtUp(NamedTuple):
    missed: list[Transition]
    result: SyncResult


def _catch_up(pod: SimulatedPod, current: Transition, *, now: datetime) -> _CaughtUp:
    """Live through what has happened since the last status that is stored, up to and with `now`."""
    missed: deque[Transition] = deque(maxlen=MISSED)
    status, due = current.status, sync_pod(pod, current.status, at=current.effective_at).due
    whole_at = current.effective_at
    while due and due <= now:
        at = due
        if skipped := fast_forward(pod, status, at=at, until=now):
            at, status, whole_at = skipped
            missed.clear()
        before = status
        status, due = sync_pod(pod, before, at=at)
        if status != before and at > whole_at:
            missed.append(Transition(at, status))
    return _CaughtUp(list(missed), SyncResult(status, due))


def _compute_ahead(pod: SimulatedPod, first: SyncResult, *, at: datetime) -> Timeline:
    """Compute what comes after a status, as far as there is an end or `AHEAD` is reached."""
    status, due = first
    transitions = [Transition(at, status)]
    while due and len(transitions) < AHEAD:
        at = due
        before = status
        status, due = sync_pod(pod, before, at=at)
        if status != before:
            transitions.append(Transition(at, status))
    return Timeline(transitions, due, pod.problems)
