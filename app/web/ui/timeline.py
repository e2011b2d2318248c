"""The course of a pod's life as it is drawn: its statuses side by side, in the order of time.

Lives have milliseconds beside months in them, so the width of a status grows with the logarithm of its time.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from app.pods.explain import StatusInterval, waits_for

MOST_DRAWN = 16
MOST_NEXT = 6
"""Of those drawn, where more have gone before."""
_LEAST_WIDTH = 4.0
"""Of a status, in percent of the whole."""

When = Literal["past", "now", "next"]


class Block(NamedTuple):
    """A status of the pod, or of one of its containers, as a piece of a lane.

    Attributes:
        x: where it begins, in percent.
        width: in percent.
        state: what it shows: a phase of the pod, or the state of a container.
    """

    x: float
    width: float
    state: str
    label: str
    when: When


class Lane(NamedTuple):
    """What became of the pod, or of one of its containers."""

    name: str
    blocks: list[Block]


class TimelineEntry(NamedTuple):
    """A status, and in words what it changed.

    Attributes:
        until: when it ended, or is to; None where nothing ends it.
    """

    since: datetime
    until: datetime | None
    when: When
    status: dict[str, Any]
    changes: list[str]

    @property
    def reason(self) -> str | None:
        """What `kubectl get pods` would show beside the phase."""
        return waits_for(self.status)


def steps(moments: Sequence[StatusInterval], *, at: datetime, deleted_at: datetime | None) -> list[TimelineEntry]:
    """Say what happened, what holds at a time and what comes next, in order."""
    found: list[TimelineEntry] = []
    before: dict[str, Any] = {}
    for moment in moments:
        until = moment.until or (deleted_at if deleted_at and deleted_at > moment.since else None)
        when: When = "next" if moment.since > at else "past" if until and until <= at else "now"
        found.append(TimelineEntry(moment.since, until, when, moment.status, list(changes(before, moment.status))))
        before = moment.status
    return found


def lanes(steps: Sequence[TimelineEntry], *, at: datetime) -> list[Lane]:
    """Draw the last steps and those that come next: a lane for the pod, and one for each of its containers."""
    have_begun = sum(step.when != "next" for step in steps)
    end = max(MOST_DRAWN, have_begun + MOST_NEXT)
    drawn = steps[:end][-MOST_DRAWN:]
    places = list(_places([((step.until or max(at, step.since)) - step.since).total_seconds() for step in drawn]))
    lanes = {"": Lane("pod", [])}
    for step, (x, width) in zip(drawn, places, strict=True):
        phase = str(step.status.get("phase"))
        state = "troubled" if phase == "Running" and step.reason else phase
        lanes[""].blocks.append(Block(x, width, state, step.reason or phase, step.when))
        for container in _containers(step.status):
            name = str(container.get("name"))
            state, label = container_state(container)
            lanes.setdefault(name, Lane(name, [])).blocks.append(Block(x, width, state, label, step.when))
    return list(lanes.values())


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Say what is different in a status: the phase, containers, conditions.

    >>> list(changes({"phase": "Pending"}, {"phase": "Running"}))
    ['phase Pending → Running']
    """
    if before and before.get("phase") != after.get("phase"):
        yield f"phase {before.get('phase')} → {after.get('phase')}"
    known = {container.get("name"): container for container in _containers(before)}
    for container in _containers(after):
        name = container.get("name")
        was = known.get(name)
        words = [container_state(one)[1] for one in (was, container) if one is not None]
        count = int(container.get("restartCount") or 0)
        if was is None or words[0] != words[-1]:
            yield f"{name}: {' → '.join(words)}"
        if was is not None and count > int(was.get("restartCount") or 0):
            yield f"{name}: restart {count}"
    conditions = {condition.get("type"): condition.get("status") for condition in before.get("conditions") or ()}
    for condition in after.get("conditions") or ():
        if before and conditions.get(condition.get("type")) != condition.get("status"):
            yield f"{condition.get('type')} is {condition.get('status')}"


def _places(seconds: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Divide 100 percent among durations: where each begins, and how wide it is."""
    weights = [math.log10(1.2 + max(duration, 0)) for duration in seconds]
    left = 100 - _LEAST_WIDTH * len(weights)
    x = 0.0
    for weight in weights:
        width = _LEAST_WIDTH + left * weight / sum(weights)
        yield round(x, 3), round(width, 3)
        x += width


def container_state(container: dict[str, Any]) -> tuple[str, str]:
    """Give the state of a container, for its colour, and the words for it."""
    state = container.get("state") or {}
    if waiting := state.get("waiting"):
        return "waiting", str(waiting.get("reason") or "waiting")
    if terminated := state.get("terminated"):
        code = terminated.get("exitCode")
        return ("failed" if code else "completed"), f"{terminated.get('reason') or 'ended'} ({code})"
    if state.get("running"):
        return ("ready", "running, ready") if container.get("ready") else ("running", "running, not ready")
    return "waiting", "unknown"


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return [container for kind in kinds for container in status.get(kind) or ()]
