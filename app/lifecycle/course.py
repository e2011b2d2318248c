"""The course of a pod's life: every status it will have, each with the time from which it holds.

It is computed when the pod arrives or changes, and stored: whoever asks later, through any worker and after
any restart, reads the last status whose time has come. A course without an end is computed a stretch ahead,
and goes on from its last status when somebody reads it later.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

from app.lifecycle.endings import stop
from app.lifecycle.life import SECOND, Life, Placement
from app.lifecycle.loops import skip
from app.lifecycle.status import Transition
from app.lifecycle.sync import Sync, sync

__all__ = ["Course", "Placement", "begin", "change", "end", "proceed"]

AHEAD = 32
"""At most so many statuses of the future are computed at a time."""
MISSED = 32
"""At most so many statuses are told of a past that nobody looked at: the last ones."""


class Course(NamedTuple):
    """What becomes of a pod.

    Attributes:
        transitions: statuses, each with the time from which it holds; the times increase strictly.
        continues_at: from when on the runtime is to be asked for more; None where this is all.
        problems: what of the pod's wishes could not be understood, in words for its status and the audit.
    """

    transitions: list[Transition]
    continues_at: datetime | None = None
    problems: tuple[str, ...] = ()


def begin(pod: Life, *, now: datetime) -> Course:
    """Compute the course of a pod that arrives."""
    return _ahead(pod, sync(pod, None, at=now), at=now)


def change(pod: Life, *, before: Life, current: Transition, now: datetime) -> Course:
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
    status = _catch_up(before, current, now=now - datetime.resolution).sync.status
    return _ahead(pod, sync(pod, status, at=now), at=now)


def proceed(pod: Life, *, current: Transition, now: datetime) -> Course | None:
    """Compute how a course goes on after its last status.

    Where nobody has looked for long, the last `MISSED` statuses before `now` are told at most, and of whole hours
    of a crash loop none; what else happened is in the counts of restarts and in `lastState`.

    Returns:
        Transitions later than `current`; None where nothing more is to come.
    """
    missed, (status, due) = _catch_up(pod, current, now=now)
    last = missed[-1] if missed else current
    if due is None:
        return Course(missed, problems=pod.problems) if missed else None
    upcoming = _ahead(pod, Sync(status, due), at=last.effective_at)
    return upcoming._replace(transitions=missed + upcoming.transitions[1:])


def end(pod: Life, *, current: Transition, grace: timedelta, now: datetime) -> Course:
    """Compute how a pod ends that is deleted: all of it, for its containers end in time or are killed.

    Args:
        pod: its life.
        current: the last status that is stored; one that should have gone on since goes on first.
        grace: what its containers get to end by themselves, in whole seconds.
        now: the time of the deletion.

    Returns:
        Transitions from `now` on; none where it has ended already.
    """
    status = _catch_up(pod, current, now=now - datetime.resolution).sync.status
    transitions: list[Transition] = []
    at: datetime | None = now
    while at and not status.is_terminal:
        before, since = status, at
        status, at = stop(pod, before, asked_at=now, grace=max(0, grace // SECOND), at=since)
        if status != before:
            transitions.append(Transition(since, status))
    return Course(transitions)


class _CaughtUp(NamedTuple):
    missed: list[Transition]
    sync: Sync


def _catch_up(pod: Life, current: Transition, *, now: datetime) -> _CaughtUp:
    """Live through what has happened since the last status that is stored, up to and with `now`."""
    missed: deque[Transition] = deque(maxlen=MISSED)
    status, due = current.status, sync(pod, current.status, at=current.effective_at).due
    whole_at = current.effective_at
    while due and due <= now:
        at = due
        if skipped := skip(pod, status, at=at, until=now):
            at, status, whole_at = skipped
            missed.clear()
        before = status
        status, due = sync(pod, before, at=at)
        if status != before and at > whole_at:
            missed.append(Transition(at, status))
    return _CaughtUp(list(missed), Sync(status, due))


def _ahead(pod: Life, first: Sync, *, at: datetime) -> Course:
    """Compute what comes after a status, as far as there is an end or `AHEAD` is reached."""
    status, due = first
    transitions = [Transition(at, status)]
    while due and len(transitions) < AHEAD:
        at = due
        before = status
        status, due = sync(pod, before, at=at)
        if status != before:
            transitions.append(Transition(at, status))
    return Course(transitions, due, pod.problems)
