"""One line that says how a pod is: `CrashLoopBackOff for 2m, exit code 1, 5 restarts, next try in 32s`."""

from collections.abc import Iterator
from datetime import datetime

from app.core.timestamps import format_age, format_wait
from app.kubernetes.printer import StatusOutline
from app.pods.explain import PodHistory


def headline(history: PodHistory, *, now: datetime) -> list[str]:
    """Return the parts of the line; the first is the column STATUS of `kubectl get pods` and since when it holds.

    A pod without a status by then has no parts.
    """
    begun = [interval for interval in history.statuses if interval.since <= now]
    if not begun:
        return []
    if deleted_at := history.deletion_before(now):
        return [f"Deleted {format_age(now - deleted_at)} ago"]
    current = begun[-1]
    columns = current.columns(now)
    # A pod that waits, runs and fails in turn is in CrashLoopBackOff since it failed last.
    parts = [f"{columns.status} for {format_age(now - current.since)}"]
    reason = current.status.get("reason")
    if reason and reason != columns.status:  # of the pod, such as Evicted: kubectl shows that of a container
        parts.append(reason)
    parts += [part for part in _failure(StatusOutline.of(current.status)) if part != columns.status]
    if columns.restarts:
        parts.append(f"{columns.restarts} restart{'s' if columns.restarts > 1 else ''}")
    if columns.ready_containers < columns.containers and current.status.get("phase") == "Running":
        parts.append(f"{columns.ready} ready")
    upcoming = next((interval for interval in history.statuses if interval.since > now), None)
    if upcoming:
        what = "next try" if "CrashLoopBackOff" in columns.status else upcoming.columns().status
        parts.append(f"{what} in {format_wait(upcoming.since - now)}")
    return parts


def _failure(status: StatusOutline) -> Iterator[str]:
    """Yield the end of the container that failed last, unless the container runs again and is ready."""
    ends = []
    for container in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        states = [container.state] if container.ready else [container.state, container.last_state]
        ends += [state.terminated for state in states if state and state.terminated and state.terminated.exit_code]
    if ends:
        last = max(ends, key=lambda end: end.finished_at or "")
        yield f"exit code {last.exit_code}"
        if last.reason and last.reason != "Error":
            yield last.reason
