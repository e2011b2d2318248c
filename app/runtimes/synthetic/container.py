"""Compute the status of one container at a time from its previous status.

The computation is level-triggered, as a kubelet's sync is: the result depends on the previous status and the time
only, and a second call for the same time changes nothing. There is one function for each state of a container:

* waiting → :func:`_reconcile_waiting`: start it, or keep it waiting for an init container, its image or its
  back-off;
* running → :func:`_reconcile_running`: update `started`, `ready` and the resources, or terminate it;
* terminated → :func:`_reconcile_terminated`: restart it, let it wait in back-off, or keep it.

A function that changes the state reconciles the new state in turn, so a call can pass through several states.
"""

from datetime import datetime
from typing import NamedTuple, get_args

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes import container_status, restart
from app.kubernetes.env import CONFIG_ERROR, missing_object
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
HOOK_ERROR = "PostStartHookError"
_HOOK_MESSAGE = "postStart hook started at "
_START_FAILURES = get_args(StartFailure)


class ContainerUpdate(NamedTuple):
    """The status of a container, and the time of its next change; None where it will not change by itself."""

    status: ContainerStatus
    due: datetime | None = None


def reconcile_container(
    pod: SimulatedPod,
    container: SimulatedContainer,
    before: ContainerStatus | None,
    *,
    at: datetime,
    since: datetime | None,
    resize_started_at: datetime | None = None,
) -> ContainerUpdate:
    """Return the status of a container at a time.

    Args:
        pod: the pod.
        container: the container.
        before: its previous status; None if it has none.
        at: the time.
        since: the time from which it may run, in whole seconds; None if it may not run yet.
        resize_started_at: the time at which a resize of the pod started; None if none is in progress.
    """
    if before is None:
        before = first_status(pod, container)
        return ContainerUpdate(before) if since is None else _start(pod, container, before, at=at, since=since)
    if before.state.waiting:
        return _reconcile_waiting(pod, container, before, before.state.waiting, at=at, since=since)
    if before.state.running:
        return _reconcile_running(
            pod, container, before, before.state.running, at=at, resize_started_at=resize_started_at
        )
    if before.state.terminated:
        return _reconcile_terminated(pod, container, before, before.state.terminated, at=at)
    return ContainerUpdate(before)


def first_status(pod: SimulatedPod, container: SimulatedContainer) -> ContainerStatus:
    """Return the status of a new container."""
    reason = container_status.initial_waiting_reason(pod.spec)
    return container_status.waiting(container.spec, reason=reason, started=_not_started(container))


def has_ended_for_good(pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus) -> bool:
    """Return whether a container has ended and will not be restarted."""
    ended = status.state.terminated
    return ended is not None and not _is_restarted(pod, container, ended)


def _is_restarted(pod: SimulatedPod, container: SimulatedContainer, ended: ContainerStateTerminated) -> bool:
    if container.kind == "ephemeral" or (container.kind == "init" and ended.exit_code == 0):
        return False
    return should_restart(container.spec, pod.spec, exit_code=ended.exit_code)


def _reconcile_waiting(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    waiting: ContainerStateWaiting,
    *,
    at: datetime,
    since: datetime | None,
) -> ContainerUpdate:
    """Reconcile a container that waits for an init container, for its image, or for its back-off to end."""
    ended = status.last_state.terminated
    is_changed = status.image != (container.spec.image or "")
    if waiting.reason == HOOK_ERROR and ended and ended.finished_at and not is_changed:
        restart_at = parse_rfc3339(ended.finished_at) + SECOND
        if at < restart_at:
            return ContainerUpdate(status, restart_at)
        return _restart(
            pod, container, status, at=at, since=restart_at, backoff=restart.nth_backoff(status.restart_count)
        )
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
    """Start a container, or let it wait for its image or for an object that its environment refers to."""
    fail = container.overrides.fail
    if fail in _PULL_FAILURES:
        ended = status.state.terminated or status.last_state.terminated
        if ended and ended.finished_at:
            since = parse_rfc3339(ended.finished_at)
        return _pull_failure(container, status, at=at, since=since)
    missing = f'configmap "{container.spec.name}" not found' if fail == CONFIG_ERROR else None
    if missing := missing or missing_object(container.spec):
        return ContainerUpdate(_waiting(container, status, CONFIG_ERROR, missing))
    begun = hook_started_at(status) or at
    plan = container.plan
    hook_due = begun.replace(microsecond=0) + SECOND * (plan.ends or 0 if plan.failed_hook else plan.hook_ends)
    if at < hook_due:
        reason = container_status.initial_waiting_reason(pod.spec)
        return ContainerUpdate(_waiting(container, status, reason, f"{_HOOK_MESSAGE}{rfc3339(begun)}"), hook_due)
    started = start_run(pod, container, status, at=begun)
    if plan.failed_hook:
        return _fail_hook(pod, container, started, at=at)
    return reconcile_container(pod, container, started, at=at, since=since)


def start_run(
    pod: SimulatedPod, container: SimulatedContainer, before: ContainerStatus, *, at: datetime
) -> ContainerStatus:
    """Return the status of a container that starts at a time."""
    return container_status.running(
        container.spec, pod_uid=pod.uid, at=rfc3339(at), before=before, resources=container.resources
    )


def hook_started_at(status: ContainerStatus) -> datetime | None:
    """Return the time at which a container started whose postStart hook runs; None if none runs.

    A kubelet reports such a container as waiting. The time is in the message.
    """
    message = status.state.waiting.message if status.state.waiting else None
    if message is None or not message.startswith(_HOOK_MESSAGE):
        return None
    return parse_rfc3339(message.removeprefix(_HOOK_MESSAGE))


def _fail_hook(
    pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus, *, at: datetime
) -> ContainerUpdate:
    """End a container whose postStart hook has failed.

    Source: `startContainer` of the kubelet.
    """
    plan = container.plan
    ended = container_status.terminated(status, at=rfc3339(at), exit_code=plan.exit_code, reason=plan.reason)
    if has_ended_for_good(pod, container, ended):
        return ContainerUpdate(ended)
    message = f"postStart hook of container {container.spec.name} in pod {pod.metadata.full_name} failed"
    return reconcile_container(pod, container, _waiting(container, ended, HOOK_ERROR, message), at=at, since=at)


def _pull_failure(
    container: SimulatedContainer, status: ContainerStatus, *, at: datetime, since: datetime
) -> ContainerUpdate:
    """Return the status of a container whose image cannot be pulled.

    Source: `EnsureImageExists` of the kubelet; the messages are containerd's and the kubelet's.
    """
    image = container.spec.image or ""
    reference = container_status.image_reference(image)
    reason, message = (
        "ErrImagePull",
        f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": '
        f"{reference}: not found",
    )
    elapsed = (at - since) // SECOND
    last_attempt, next_attempt = restart.pull_attempts(max(0, elapsed))
    due = since + (last_attempt + 1) * SECOND
    if elapsed > last_attempt:
        due = since + next_attempt * SECOND
        reason, message = "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {message}'
    return ContainerUpdate(_waiting(container, status, reason, message), due)


def _waiting(container: SimulatedContainer, before: ContainerStatus, reason: str, message: str) -> ContainerStatus:
    return container_status.waiting(
        container.spec, reason=reason, message=message, before=before, started=_not_started(container)
    )


def _reconcile_running(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    running: ContainerStateRunning,
    *,
    at: datetime,
    resize_started_at: datetime | None,
) -> ContainerUpdate:
    """Reconcile a running container: the results of its probes, its resources, its end."""
    plan = container.plan
    if container.kind in ("sidecar", "regular") and status.image != (container.spec.image or ""):
        return _restart_changed(pod, container, status, at=at)
    due = None
    if plan is ENDLESS:
        started = ready = True
    else:
        started_at = parse_rfc3339(running.started_at)
        elapsed = (at - started_at) // SECOND
        if plan.ends is not None and elapsed >= plan.ends:
            ended = container_status.terminated(
                status, at=rfc3339(at), exit_code=plan.exit_code, reason=plan.reason
            )
            if container.kind == "init" and plan.exit_code == 0:
                ended = replace(ended, ready=True)
            return reconcile_container(pod, container, ended, at=at, since=started_at)
        started, ready = plan.is_started(elapsed), plan.is_started(elapsed) and plan.is_ready(elapsed)
        next_change = plan.next_change(elapsed)
        due = None if next_change is None else started_at + next_change * SECOND
    if status.resources != container.resources:
        status, is_pending = resize.allocate(container.spec, status, capacity=pod.capacity)
        resized_at = (resize_started_at or at.replace(microsecond=0)) + SECOND
        if is_pending and at < resized_at:
            due = min(due, resized_at) if due else resized_at
        elif is_pending and resize.needs_restart(container.spec, status):
            return _restart_changed(pod, container, status, at=at)
        elif is_pending:
            status = replace(status, resources=container.resources)
    return ContainerUpdate(_with_probe_results(container, status, started=started, ready=ready), due)


def _with_probe_results(
    container: SimulatedContainer, status: ContainerStatus, *, started: bool, ready: bool
) -> ContainerStatus:
    """Set `started` and `ready` of a running container.

    Source: `UpdatePodStatus` of the kubelet's prober.
    """
    results: tuple[bool | None, bool] = (started, ready)
    if container.kind == "ephemeral":
        results = (None, False)
    elif container.kind == "init":
        results = (True, False)
    if (status.started, status.ready) == results:
        return status
    return replace(status, started=results[0], ready=results[1])


def _restart_changed(
    pod: SimulatedPod, container: SimulatedContainer, status: ContainerStatus, *, at: datetime
) -> ContainerUpdate:
    """Restart a container whose definition has changed, whatever its restart policy."""
    ended = container_status.terminated(status, at=rfc3339(at), exit_code=0)
    return _start(pod, container, ended, at=at, since=at.replace(microsecond=0))


def _reconcile_terminated(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    ended: ContainerStateTerminated,
    *,
    at: datetime,
) -> ContainerUpdate:
    """Reconcile a container that has ended: keep it, restart it one second later, or let it wait in back-off."""
    if ended.finished_at is None or not _is_restarted(pod, container, ended):
        return ContainerUpdate(status)
    restart_at = parse_rfc3339(ended.finished_at) + SECOND
    if at < restart_at:
        return ContainerUpdate(status, restart_at)
    backoff = restart.backoff_after(ended, status.last_state.terminated)
    return _restart(pod, container, status, at=at, since=restart_at, backoff=backoff)


def _restart(
    pod: SimulatedPod,
    container: SimulatedContainer,
    status: ContainerStatus,
    *,
    at: datetime,
    since: datetime,
    backoff: int,
) -> ContainerUpdate:
    """Restart a container that has ended, or let it wait in back-off of so many seconds."""
    if backoff == 0 or container.overrides.fail in _START_FAILURES:
        return _start(pod, container, status, at=at, since=since)
    message = restart.backoff_message(backoff, container=container.spec.name, pod=pod.metadata.full_name)
    waiting = container_status.waiting(container.spec, reason="CrashLoopBackOff", message=message, before=status)
    return reconcile_container(pod, container, waiting, at=at, since=since)


def _not_started(container: SimulatedContainer) -> bool | None:
    return None if container.kind == "ephemeral" else False
