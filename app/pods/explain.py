"""Sentences that explain the state of a pod and what follows, for the dashboard and the command line.

The functions read a PodStatus as JSON, as any client of Kubernetes does. A runtime may write fields beside those
that are read here.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from app.core.timestamps import format_age, format_wait, rfc3339
from app.kubernetes.printer import PodColumns, PodOutline, StatusOutline, print_pod

_MAX_UPCOMING = 5


class StatusInterval(NamedTuple):
    """A PodStatus as JSON and the times between which it holds.

    Attributes:
        until: when the next status begins or the pod is deleted; None where neither is known.
        pod: the Pod as last received.
        deletion_requested_at: when the deletion of the pod was requested; None while it is not.
    """

    since: datetime
    until: datetime | None
    status: dict[str, Any]
    pod: PodOutline
    deletion_requested_at: datetime | None = None

    def columns(self, at: datetime | None = None) -> PodColumns:
        """Return the columns of `kubectl get pods` at a time; at the beginning of the status where None."""
        return print_pod(
            self.pod,
            StatusOutline.of(self.status),
            at=at or self.since,
            deletion_requested_at=self.deletion_requested_at,
        )


class PodHistory(NamedTuple):
    """The statuses of a pod.

    Attributes:
        statuses: in order, upcoming ones included.
        deleted_at: when the pod was deleted; None while it is live.
        continues_at: when the runtime is next asked for statuses; None where it is not.
        deletion_requested_at: when the deletion was requested; None while it is not.
        grace_ends_at: when the grace period of the deletion ends.
    """

    statuses: Sequence[StatusInterval]
    deleted_at: datetime | None
    continues_at: datetime | None
    deletion_requested_at: datetime | None = None
    grace_ends_at: datetime | None = None

    @classmethod
    def of(cls, pod: Any, statuses: Sequence[StatusInterval]) -> Self:
        """Return the history of a pod's row, with its statuses."""
        return cls(statuses, pod.deleted_at, pod.continues_at, pod.deletion_requested_at, pod.grace_ends_at)

    def is_ending(self, at: datetime) -> bool:
        """Return whether the pod is being deleted at a time: its deletion was requested, and it is not gone."""
        is_requested = self.deletion_requested_at is not None and self.deletion_requested_at <= at
        return is_requested and (self.deleted_at is None or self.deleted_at > at)

    def deletion_before(self, at: datetime) -> datetime | None:
        """Return when the pod was deleted, if it does not exist at a time; None where it does.

        A pod that was created again with the same UID has a gap before that: the status of the deletion ends at
        the deletion, and later statuses of the gap, such as the end of the containers, have no length.
        """
        if self.deleted_at and self.deleted_at <= at:
            return self.deleted_at
        past = [status for status in self.statuses if status.since <= at]
        if not past or past[-1].until is None or past[-1].until > at:
            return None
        deleted_at = past[-1].until
        for status in reversed(past):
            deleted_at = min(deleted_at, status.until or deleted_at)
            if status.since != status.until:
                break
        return deleted_at


def explain(history: PodHistory, *, now: datetime) -> Iterator[str]:
    """Yield sentences that explain a pod's state at a time and what follows."""
    current = [status for status in history.statuses if status.since <= now]
    if not history.statuses:
        yield "No status of this pod is recorded any more."
        return
    if not current:
        yield f"It is not there yet: it comes at {rfc3339(history.statuses[0].since)}."
        return
    since, status = current[-1].since, current[-1].status
    deleted_at = history.deletion_before(now)
    is_or_was = "is" if deleted_at is None else "was last"
    text = summary(current[-1], at=now if deleted_at is None else None)
    yield f"It {is_or_was} {text}, since {rfc3339(since)} ({format_age(now - since)})."
    yield from _reasons(status, is_deleted=deleted_at is not None)
    if deleted_at:
        yield f"It was deleted at {rfc3339(deleted_at)}."
    elif history.is_ending(now) and history.deletion_requested_at and history.grace_ends_at:
        requested_at, ends_at = rfc3339(history.deletion_requested_at), rfc3339(history.grace_ends_at)
        yield f"It is being deleted since {requested_at}; its grace period ends at {ends_at}."
    upcoming = [status for status in history.statuses if status.since > now]
    yield from _next(history, upcoming, now=now, is_deleted=deleted_at is not None)


def summary(interval: StatusInterval, *, at: datetime | None = None) -> str:
    """Return a status in one line: `Running, CrashLoopBackOff, 0/1 ready, 2 restarts`.

    Args:
        interval: the status.
        at: the time at which it is described; its beginning where None.
    """
    phase, columns = str(interval.status.get("phase", "Unknown")), interval.columns(at)
    words = [phase, columns.reason(phase)]
    if interval.status.get("containerStatuses"):
        words.append(f"{columns.ready} ready")
    if columns.restarts:
        words.append(f"{columns.restarts} restart{'s' if columns.restarts > 1 else ''}")
    return ", ".join(word for word in words if word)


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _reasons(status: dict[str, Any], *, is_deleted: bool) -> Iterator[str]:
    if status.get("message"):
        yield f"The pod says: {status['message']}."
    sentences = [_of_container(container) for container in _containers(status)]
    yield from (sentence for sentence in sentences if sentence)
    if sentences and not any(sentences) and not is_deleted:
        yield "All of its containers run and are ready."
    for condition in status.get("conditions") or ():
        if condition.get("status") != "True" and condition.get("reason"):
            message = f": {condition['message']}" if condition.get("message") else ""
            since = f"since {condition.get('lastTransitionTime')}"
            yield f"{condition.get('type')} is {condition.get('status')} {since}, {condition['reason']}{message}."


def _of_container(container: dict[str, Any]) -> str | None:
    """Return a sentence about a container; None for one that runs, is ready and was never restarted."""
    state = container.get("state") or {}
    last = (container.get("lastState") or {}).get("terminated")
    count = int(container.get("restartCount") or 0)
    name = f"Container {container.get('name')}"
    if waiting := state.get("waiting"):
        message = f": {waiting['message']}" if waiting.get("message") else ""
        sentence = f"{name} waits, {waiting.get('reason')}{message}"
    elif terminated := state.get("terminated"):
        sentence = f"{name} has ended{_ending(terminated)}"
    elif not container.get("ready"):
        sentence = f"{name} runs and is not ready"
    elif count:
        sentence = f"{name} runs and is ready"
    else:
        return None
    if count:
        sentence += f"; it was restarted {count} time{'s' if count > 1 else ''}"
    if last:
        sentence += f"; its last run ended{_ending(last)}"
    return sentence + "."


def _ending(terminated: dict[str, Any]) -> str:
    reason = f" ({terminated['reason']})" if terminated.get("reason") else ""
    return f" at {terminated.get('finishedAt')} with exit code {terminated.get('exitCode')}{reason}"


def _next(
    history: PodHistory, upcoming: list[StatusInterval], *, now: datetime, is_deleted: bool
) -> Iterator[str]:
    for interval in upcoming[:_MAX_UPCOMING]:
        wait = format_wait(interval.since - now)
        yield f"At {rfc3339(interval.since)}, in {wait}, it becomes {summary(interval)}."
    if len(upcoming) > _MAX_UPCOMING:
        last = rfc3339(upcoming[-1].since)
        yield f"{len(upcoming) - _MAX_UPCOMING} more changes follow, the last at {last}."
    if history.deleted_at and not is_deleted:
        yield f"At {rfc3339(history.deleted_at)}, in {format_wait(history.deleted_at - now)}, it is deleted."
    elif history.is_ending(now) and upcoming:
        yield "Then it is gone."
    elif history.continues_at and not is_deleted:
        continues_at = rfc3339(history.continues_at)
        yield f"How it goes on is decided at {continues_at}, or when somebody reads it after that."
    elif not is_deleted:
        yield f"{'Then it' if upcoming else 'It'} stays so until it is changed or deleted."
