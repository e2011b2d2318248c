"""What becomes of one container from one status to the next.

It is level-triggered, as a kubelet's sync is: from what holds and the time, it says what is to hold and when to
look again. Asked twice for the same time it changes nothing more.
"""

from datetime import datetime
from typing import NamedTuple, get_args

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes import container_status, restart
from app.kubernetes.restart import should_restart
from app.kubernetes.status import (
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)
from app.runtimes.synthetic import resize
from app.runtimes.synthetic.annotations import StartFailure
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.probes import ENDLESS

_PULL_FAILURES = ("ErrImagePull", "ImagePullBackOff")
_START_FAILURES = get_args(StartFailure)


class ContainerUpdate(NamedTuple):
    """The status of a container, and when it is to be looked at again; None where it will not change by itself."""

    status: ContainerStatus
    due: datetime | None = None


def reconcile_container(
    pod: SimulatedPod,
    container: SimulatedContainer,
    before: ContainerStatus | None,
    *,
    at: datetime,
    since: datetime | None,
    resizing: datetime | None = None,
) -> ContainerUpdate:
    """Bring a container up to a time.

    Args:
        before: its status until now; None where it has none.
        at: the present.
        since: from when on it may run, in whole seconds; None where it may not yet.
        resizing: since when a resize of the pod is under way.
    """
    if before is None:
        before = first_status(pod, container)
        return ContainerUpdate(before) if since is None else _start(pod, container, before, at=at, since=since)
    if before.state.waiting:
        return _wait(pod, container, before, before.state.waiting, at=at, since=since)
    if before.state.running:
        return _go_on(pod, container, before, before.state.running, at=at, resizing=resizing)
    if before.state.terminated:
        return _rest(pod, container, before, before.state.terminated, at=at)
    return ContainerUpdate(before)


def first_status(pod: SimulatedPod, container: SimulatedContainer) -> ContainerStatus:
    """Describe a container that was not there before."""
    reason = "PodInitializing" if pod.init else "ContainerCreating"
    return container_status.waiting(container.spec, reason=reason, started=_not_started(container))


def is_over(pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus) -> bool:
    """Say whether a container has ended for good."""
    ended = status.state.terminated
    return ended is not None and not _is_restarted(pod, container, ended)


def _is_restarted(pod: SimulatedPod, container: SimulatedContainer, ended: ContainerStateTerminated) -> bool:
    if container.kind == "ephemeral" or (container.kind == "init" and ended.exit_code == 0):
        return False
    return should_restart(container.spec, pod.spec, exit_code=ended.exit_code)


def _wait(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    waiting: ContainerStateWaiting,
    *,
    at: datetime,
    since: datetime | None,
) -> ContainerUpdate:
    """A container that waits for its turn, for its image, or to be restarted."""
    ended = status.last_state.terminated
    is_changed = status.image != (container.spec.image or "")
    if waiting.reason == "CrashLoopBackOff" and ended and ended.finished_at and not is_changed:
        due = parse_rfc3339(ended.finished_at) + restart.parse_backoff(waiting.message) * SECOND
        if at < due:
            return ContainerUpdate(status, due)
        return _start(pod, container, status, at=at, since=since or due)
    if since is None and not status.container_id:
        return ContainerUpdate(replace(status, image=container.spec.image or "") if is_changed else status)
    return _start(pod, container, status, at=at, since=since or at)


def _start(
    pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus, *, at: datetime, since: datetime
) -> ContainerUpdate:
    """Start a container, or fail to."""
    if container.overrides.fail in _START_FAILURES:
        ended = status.state.terminated or status.last_state.terminated
        if ended and ended.finished_at:
            since = parse_rfc3339(ended.finished_at)
        return _fail_to_start(container, status, at=at, since=since)
    started = container_status.running(
        container.spec,
        pod_uid=pod.uid,
        at=rfc3339(at),
        before=status,
        resources=resize.resources(container.spec),
    )
    return reconcile_container(pod, container, started, at=at, since=since)


def _fail_to_start(
    container: SimulatedContainer, status: ContainerStatus, *, at: datetime, since: datetime
) -> ContainerUpdate:
    """Source: `EnsureImageExists` of the kubelet; the words of the errors are containerd's and the kubelet's."""
    image = container.spec.image or ""
    due = None
    if container.overrides.fail not in _PULL_FAILURES:
        reason, message = "CreateContainerConfigError", f'configmap "{container.spec.name}" not found'
    else:
        reference = container_status.image_reference(image)
        reason, message = (
            "ErrImagePull",
            f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": '
            f"{reference}: not found",
        )
        elapsed = (at - since) // SECOND
        tried, next_try = restart.pull_attempts(max(0, elapsed))
        due = since + (tried + 1) * SECOND
        if elapsed > tried:
            due = since + next_try * SECOND
            reason, message = "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {message}'
    waiting = container_status.waiting(
        container.spec, reason=reason, message=message, before=status, started=_not_started(container)
    )
    return ContainerUpdate(waiting, due)


def _go_on(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    running: ContainerStateRunning,
    *,
    at: datetime,
    resizing: datetime | None,
) -> ContainerUpdate:
    """A container that runs: it gets started, ready, other resources; it ends."""
    run = container.plan
    if container.kind in ("sidecar", "regular") and status.image != (container.spec.image or ""):
        return _run_anew(pod, container, status, at=at)
    due = None
    if run is ENDLESS:
        started = ready = True
    else:
        begun = parse_rfc3339(running.started_at)
        elapsed = (at - begun) // SECOND
        if run.ends is not None and elapsed >= run.ends:
            ended = container_status.terminated(status, at=rfc3339(at), exit_code=run.exit_code, reason=run.reason)
            if container.kind == "init" and run.exit_code == 0:
                ended = replace(ended, ready=True)
            return reconcile_container(pod, container, ended, at=at, since=begun)
        started, ready = run.is_started(elapsed), run.is_started(elapsed) and run.is_ready(elapsed)
        upcoming = run.next(elapsed)
        due = None if upcoming is None else begun + upcoming * SECOND
    if status.resources != (wanted := resize.resources(container.spec)):
        status, is_open = resize.allocate(container.spec, status, capacity=pod.capacity)
        resized_at = (resizing or at.replace(microsecond=0)) + SECOND
        if is_open and at < resized_at:
            due = min(due, resized_at) if due else resized_at
        elif is_open and resize.needs_restart(container.spec, status):
            return _run_anew(pod, container, status, at=at)
        elif is_open:
            status = replace(status, resources=wanted)
    return ContainerUpdate(_seen(container, status, started=started, ready=ready), due)


def _seen(
    container: SimulatedContainer, status: ContainerStatus, *, started: bool, ready: bool
) -> ContainerStatus:
    """Say whether a container that runs is started and ready.

    Source: `UpdatePodStatus` of the kubelet's prober.
    """
    wanted: tuple[bool | None, bool] = (started, ready)
    if container.kind == "ephemeral":
        wanted = (None, False)
    elif container.kind == "init":
        wanted = (True, False)
    if (status.started, status.ready) == wanted:
        return status
    return replace(status, started=wanted[0], ready=wanted[1])


def _run_anew(
    pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus, *, at: datetime
) -> ContainerUpdate:
    """A container whose definition changed is ended and started again, whatever its restart policy."""
    ended = container_status.terminated(status, at=rfc3339(at), exit_code=0)
    return _start(pod, container, ended, at=at, since=at.replace(microsecond=0))


def _rest(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    ended: ContainerStateTerminated,
    *,
    at: datetime,
) -> ContainerUpdate:
    """A container that has ended: for good, or to be restarted a second later, or after a longer pause."""
    if ended.finished_at is None or not _is_restarted(pod, container, ended):
        return ContainerUpdate(status)
    seen_at = parse_rfc3339(ended.finished_at) + SECOND
    if at < seen_at:
        return ContainerUpdate(status, seen_at)
    pause = restart.backoff_after(ended, status.last_state.terminated)
    if pause == 0 or container.overrides.fail in _START_FAILURES:
        return _start(pod, container, status, at=at, since=seen_at)
    message = restart.backoff_message(pause, container=container.spec.name, pod=pod.pod_name)
    waiting = container_status.waiting(container.spec, reason="CrashLoopBackOff", message=message, before=status)
    return reconcile_container(pod, container, waiting, at=at, since=seen_at)


def _not_started(container: SimulatedContainer) -> bool | None:
    return None if container.kind == "ephemeral" else False
