"""What becomes of one container from one status to the next.

It is level-triggered, as a kubelet's sync is: from what holds and the time, it says what is to hold and when to
look again. Asked twice for the same time it changes nothing more.
"""

from datetime import datetime
from typing import NamedTuple, get_args

from msgspec.structs import replace

from app.lifecycle import backoff, containers, resize
from app.lifecycle.life import SECOND, Life, Part
from app.lifecycle.restarts import restarts
from app.lifecycle.runs import ENDLESS
from app.lifecycle.status import (
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)
from app.lifecycle.steering import StartFailure
from app.lifecycle.times import parse_rfc3339, rfc3339

_PULL_FAILURES = ("ErrImagePull", "ImagePullBackOff")
_START_FAILURES = get_args(StartFailure)


class Step(NamedTuple):
    """The status of a container, and when it is to be looked at again; None where it will not change by itself."""

    status: ContainerStatus
    due: datetime | None = None


def step(
    life: Life,
    part: Part,
    before: ContainerStatus | None,
    *,
    at: datetime,
    since: datetime | None,
    resizing: datetime | None = None,
) -> Step:
    """Bring a container up to a time.

    Args:
        before: its status until now; None where it has none.
        at: the present.
        since: from when on it may run, in whole seconds; None where it may not yet.
        resizing: since when a resize of the pod is under way.
    """
    if before is None:
        before = first_status(life, part)
        return Step(before) if since is None else _start(life, part, before, at=at, since=since)
    if before.state.waiting:
        return _wait(life, part, before, before.state.waiting, at=at, since=since)
    if before.state.running:
        return _go_on(life, part, before, before.state.running, at=at, resizing=resizing)
    if before.state.terminated:
        return _rest(life, part, before, before.state.terminated, at=at)
    return Step(before)


def first_status(life: Life, part: Part) -> ContainerStatus:
    """Describe a container that was not there before."""
    reason = "PodInitializing" if life.init else "ContainerCreating"
    return containers.waiting(part.container, reason=reason, started=_not_started(part))


def is_over(life: Life, part: Part, status: ContainerStatus) -> bool:
    """Say whether a container has ended for good."""
    ended = status.state.terminated
    return ended is not None and not _is_restarted(life, part, ended)


def _is_restarted(life: Life, part: Part, ended: ContainerStateTerminated) -> bool:
    if part.kind == "ephemeral" or (part.kind == "init" and ended.exit_code == 0):
        return False
    return restarts(part.container, life.pod.spec, exit_code=ended.exit_code)


def _wait(
    life: Life,
    part: Part,
    status: ContainerStatus,
    waiting: ContainerStateWaiting,
    *,
    at: datetime,
    since: datetime | None,
) -> Step:
    """A container that waits for its turn, for its image, or to be restarted."""
    ended = status.last_state.terminated
    is_changed = status.image != (part.container.image or "")
    if waiting.reason == "CrashLoopBackOff" and ended and ended.finished_at and not is_changed:
        due = parse_rfc3339(ended.finished_at) + backoff.read_pause(waiting.message) * SECOND
        if at < due:
            return Step(status, due)
        return _start(life, part, status, at=at, since=since or due)
    if since is None and not status.container_id:
        return Step(replace(status, image=part.container.image or "") if is_changed else status)
    return _start(life, part, status, at=at, since=since or at)


def _start(life: Life, part: Part, status: ContainerStatus, *, at: datetime, since: datetime) -> Step:
    """Start a container, or fail to."""
    if part.orders.fail in _START_FAILURES:
        ended = status.state.terminated or status.last_state.terminated
        if ended and ended.finished_at:
            since = parse_rfc3339(ended.finished_at)
        return _fail_to_start(part, status, at=at, since=since)
    started = containers.running(
        part.container,
        pod_uid=life.uid,
        at=rfc3339(at),
        before=status,
        resources=resize.resources(part.container),
    )
    return step(life, part, started, at=at, since=since)


def _fail_to_start(part: Part, status: ContainerStatus, *, at: datetime, since: datetime) -> Step:
    """Source: `EnsureImageExists` of the kubelet; the words of the errors are containerd's and the kubelet's."""
    image = part.container.image or ""
    due = None
    if part.orders.fail not in _PULL_FAILURES:
        reason, message = "CreateContainerConfigError", f'configmap "{part.container.name}" not found'
    else:
        reference = containers.image_reference(image)
        reason, message = (
            "ErrImagePull",
            f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": '
            f"{reference}: not found",
        )
        elapsed = (at - since) // SECOND
        tried, next_try = backoff.attempts(max(0, elapsed))
        due = since + (tried + 1) * SECOND
        if elapsed > tried:
            due = since + next_try * SECOND
            reason, message = "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {message}'
    waiting = containers.waiting(
        part.container, reason=reason, message=message, before=status, started=_not_started(part)
    )
    return Step(waiting, due)


def _go_on(
    life: Life,
    part: Part,
    status: ContainerStatus,
    running: ContainerStateRunning,
    *,
    at: datetime,
    resizing: datetime | None,
) -> Step:
    """A container that runs: it gets started, ready, other resources; it ends."""
    run = part.run
    if part.kind in ("sidecar", "regular") and status.image != (part.container.image or ""):
        return _run_anew(life, part, status, at=at)
    due = None
    if run is ENDLESS:
        started = ready = True
    else:
        begun = parse_rfc3339(running.started_at)
        elapsed = (at - begun) // SECOND
        if run.ends is not None and elapsed >= run.ends:
            ended = containers.terminated(status, at=rfc3339(at), exit_code=run.exit_code, reason=run.reason)
            if part.kind == "init" and run.exit_code == 0:
                ended = replace(ended, ready=True)
            return step(life, part, ended, at=at, since=begun)
        started, ready = run.is_started(elapsed), run.is_started(elapsed) and run.is_ready(elapsed)
        upcoming = run.next(elapsed)
        due = None if upcoming is None else begun + upcoming * SECOND
    if status.resources != (wanted := resize.resources(part.container)):
        status, is_open = resize.allocate(part.container, status, capacity=life.capacity)
        resized_at = (resizing or at.replace(microsecond=0)) + SECOND
        if is_open and at < resized_at:
            due = min(due, resized_at) if due else resized_at
        elif is_open and resize.needs_restart(part.container, status):
            return _run_anew(life, part, status, at=at)
        elif is_open:
            status = replace(status, resources=wanted)
    return Step(_seen(part, status, started=started, ready=ready), due)


def _seen(part: Part, status: ContainerStatus, *, started: bool, ready: bool) -> ContainerStatus:
    """Say whether a container that runs is started and ready.

    Source: `UpdatePodStatus` of the kubelet's prober.
    """
    wanted: tuple[bool | None, bool] = (started, ready)
    if part.kind == "ephemeral":
        wanted = (None, False)
    elif part.kind == "init":
        wanted = (True, False)
    if (status.started, status.ready) == wanted:
        return status
    return replace(status, started=wanted[0], ready=wanted[1])


def _run_anew(life: Life, part: Part, status: ContainerStatus, *, at: datetime) -> Step:
    """A container whose definition changed is ended and started again, whatever its restart policy."""
    ended = containers.terminated(status, at=rfc3339(at), exit_code=0)
    return _start(life, part, ended, at=at, since=at.replace(microsecond=0))


def _rest(
    life: Life, part: Part, status: ContainerStatus, ended: ContainerStateTerminated, *, at: datetime
) -> Step:
    """A container that has ended: for good, or to be restarted a second later, or after a longer pause."""
    if ended.finished_at is None or not _is_restarted(life, part, ended):
        return Step(status)
    seen_at = parse_rfc3339(ended.finished_at) + SECOND
    if at < seen_at:
        return Step(status, seen_at)
    pause = backoff.pause(ended, status.last_state.terminated)
    if pause == 0 or part.orders.fail in _START_FAILURES:
        return _start(life, part, status, at=at, since=seen_at)
    message = backoff.message(pause, container=part.container.name, pod=life.pod_name)
    waiting = containers.waiting(part.container, reason="CrashLoopBackOff", message=message, before=status)
    return step(life, part, waiting, at=at, since=seen_at)


def _not_started(part: Part) -> bool | None:
    return None if part.kind == "ephemeral" else False
