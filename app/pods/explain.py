"""Why a pod is in its state, and what comes next, in words.

It reads a PodStatus as any client of Kubernetes would, as JSON: whoever wrote it, this provider or a runtime of
somebody else's, and whatever fields it has beside those that are read here.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.core.timestamps import format_age, rfc3339

_MOST_STEPS = 5


class StatusInterval(NamedTuple):
    """A PodStatus, as JSON, and from when until when it holds; until None where nothing ends it."""

    since: datetime
    until: datetime | None
    status: dict[str, Any]


class PodHistory(NamedTuple):
    """What there is to say of a pod.

    Attributes:
        moments: its statuses, the oldest first, those that are still to come included.
        deleted_at: when it left; None while it is live.
        continues_at: from when on its runtime is asked for more.
    """

    moments: Sequence[StatusInterval]
    deleted_at: datetime | None
    continues_at: datetime | None


def explain(life: PodHistory, *, now: datetime) -> Iterator[str]:
    """Say why a pod is as it is at a time, and what comes next, a sentence an item."""
    current = [moment for moment in life.moments if moment.since <= now]
    if not life.moments:
        yield "Nothing of it is on record any more."
        return
    if not current:
        yield f"It is not there yet: it comes at {rfc3339(life.moments[0].since)}."
        return
    since, until, status = current[-1]
    left_at = life.deleted_at if life.deleted_at and life.deleted_at <= now else until
    is_gone = left_at is not None and left_at <= now
    is_or_was = "was last" if is_gone else "is"
    yield f"It {is_or_was} {summary(status)}, since {rfc3339(since)} ({format_age(now - since)})."
    yield from _reasons(status, is_gone=is_gone)
    if left_at and is_gone:
        yield f"It was deleted at {rfc3339(left_at)}."
    yield from _next(life, [moment for moment in life.moments if moment.since > now], now=now, is_gone=is_gone)


def summary(status: dict[str, Any]) -> str:
    """Put a status into a few words: `Running, CrashLoopBackOff, 0/1 ready, 2 restarts`.

    >>> summary({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]})
    'Pending, ErrImagePull, 0/1 ready'
    """
    words = [str(status.get("phase", "Unknown"))]
    if reason := waits_for(status):
        words.append(reason)
    if status.get("containerStatuses"):
        words.append(f"{readiness(status)} ready")
    if count := restarts(status):
        words.append(f"{count} restart{'s' if count > 1 else ''}")
    return ", ".join(words)


def waits_for(status: dict[str, Any]) -> str | None:
    """Say what `kubectl get pods` would show beside the phase: the pod's reason, or what a container waits for."""
    if status.get("reason"):
        return str(status["reason"])
    states = [container.get("state") or {} for container in _containers(status)]
    return next((str(state["waiting"].get("reason")) for state in states if state.get("waiting")), None)


def readiness(status: dict[str, Any]) -> str:
    """Say how many containers are ready, of how many."""
    containers = status.get("containerStatuses") or []
    return f"{sum(1 for container in containers if container.get('ready'))}/{len(containers)}"


def restarts(status: dict[str, Any]) -> int:
    """Count the restarts of all containers."""
    return sum(int(container.get("restartCount") or 0) for container in _containers(status))


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _reasons(status: dict[str, Any], *, is_gone: bool) -> Iterator[str]:
    if status.get("message"):
        yield f"The pod says: {status['message']}."
    sentences = [_of_container(container) for container in _containers(status)]
    yield from (sentence for sentence in sentences if sentence)
    if sentences and not any(sentences) and not is_gone:
        yield "All of its containers run and are ready."
    for condition in status.get("conditions") or ():
        if condition.get("status") != "True" and condition.get("reason"):
            message = f": {condition['message']}" if condition.get("message") else ""
            since = f"since {condition.get('lastTransitionTime')}"
            yield f"{condition.get('type')} is {condition.get('status')} {since}, {condition['reason']}{message}."


def _of_container(container: dict[str, Any]) -> str | None:
    """Say what is to be said of a container; nothing of one that runs, is ready and was never restarted."""
    state = container.get("state") or {}
    last = (container.get("lastState") or {}).get("terminated")
    count = int(container.get("restartCount") or 0)
    name = f"Container {container.get('name')}"
    if waiting := state.get("waiting"):
        message = f": {waiting['message']}" if waiting.get("message") else ""
        said = f"{name} waits, {waiting.get('reason')}{message}"
    elif terminated := state.get("terminated"):
        said = f"{name} has ended{_ending(terminated)}"
    elif not container.get("ready"):
        said = f"{name} runs and is not ready"
    elif count:
        said = f"{name} runs and is ready"
    else:
        return None
    if count:
        said += f"; it was restarted {count} time{'s' if count > 1 else ''}"
    if last:
        said += f"; its last run ended{_ending(last)}"
    return said + "."


def _ending(terminated: dict[str, Any]) -> str:
    reason = f" ({terminated['reason']})" if terminated.get("reason") else ""
    return f" at {terminated.get('finishedAt')} with exit code {terminated.get('exitCode')}{reason}"


def _next(life: PodHistory, upcoming: list[StatusInterval], *, now: datetime, is_gone: bool) -> Iterator[str]:
    for moment in upcoming[:_MOST_STEPS]:
        age = format_age(moment.since - now)
        yield f"At {rfc3339(moment.since)}, in {age}, it becomes {summary(moment.status)}."
    if len(upcoming) > _MOST_STEPS:
        yield f"{len(upcoming) - _MOST_STEPS} more changes follow, the last at {rfc3339(upcoming[-1].since)}."
    if life.deleted_at and not is_gone:
        yield f"At {rfc3339(life.deleted_at)}, in {format_age(life.deleted_at - now)}, it is deleted."
    elif life.continues_at:
        yield f"How it goes on is decided at {rfc3339(life.continues_at)}, or when somebody reads it after that."
    elif not is_gone:
        yield f"{'Then it' if upcoming else 'It'} stays so until it is changed or deleted."
