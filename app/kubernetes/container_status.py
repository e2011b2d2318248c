"""Build the status of a container in each of its states, and the IDs that a container runtime would assign.

Source: `convertToAPIContainerStatuses` of the kubelet.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from app.kubernetes.pod import Container, PodSpec
from app.kubernetes.restart import RESTARTING_ALL
from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ResourceStatus,
)

RUNTIME = "synthetic"
KILLED = 137
"""The exit code of a process that SIGKILL ended."""
LOST = "ContainerStatusUnknown"
"""The reason of a container whose end is unknown."""
_NO_STATE = ContainerState()


class ContainerStatuses(NamedTuple):
    """The statuses of a pod's containers, each kind in the order of the spec."""

    init: Sequence[ContainerStatus]
    regular: Sequence[ContainerStatus]
    ephemeral: Sequence[ContainerStatus] = ()


def initial_waiting_reason(spec: PodSpec) -> str:
    """Return the reason with which the containers of a pod wait before their first run."""
    return "PodInitializing" if spec.init_containers else "ContainerCreating"


def waiting(
    container: Container,
    *,
    reason: str,
    message: str | None = None,
    before: ContainerStatus | None = None,
    started: bool | None = False,
) -> ContainerStatus:
    """Return the status of a container that waits: for its first run, or for a restart after `before`."""
    state = ContainerState(waiting=ContainerStateWaiting(reason, message))
    if before and (before.container_id or before.restart_count):
        return replace(before, state=state, last_state=_last_state(before), ready=False, started=started)
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=_NO_STATE,
        ready=False,
        restart_count=0,
        image=container.image or "",
        image_id="",
        started=started,
    )


def running(
    container: Container,
    *,
    pod_uid: str,
    at: str,
    before: ContainerStatus | None = None,
    resources: ResourceStatus | None = None,
) -> ContainerStatus:
    """Return the status of a container that starts at `at`, for the first time or after the status `before`."""
    restart_count, last = (before.restart_count, before.last_state) if before else (0, _NO_STATE)
    if before and before.container_id:
        restart_count, last = restart_count + 1, _last_state(before)
    return ContainerStatus(
        name=container.name,
        state=ContainerState(running=ContainerStateRunning(at)),
        last_state=last,
        ready=True,
        restart_count=restart_count,
        image=container.image or "",
        image_id=image_id(container.image or ""),
        container_id=container_id(pod_uid, container.name, restart_count=restart_count),
        started=True,
        allocated_resources=resources.requests if resources else None,
        resources=resources,
    )


def terminated(status: ContainerStatus, *, at: str, exit_code: int, reason: str | None = None) -> ContainerStatus:
    """Return the status of a running container that ends at `at`."""
    state = terminated_state(
        exit_code=exit_code,
        reason=reason,
        started_at=status.state.running.started_at if status.state.running else at,
        finished_at=at,
        container_id=status.container_id,
    )
    return _ended(status, state)


def terminated_state(
    *,
    exit_code: int,
    reason: str | None = None,
    message: str | None = None,
    started_at: str | None = None,
    finished_at: str | None = None,
    container_id: str | None = None,
) -> ContainerState:
    """Return a terminated state; without a `reason` it is `Completed` for exit code 0, else `Error`."""
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=exit_code,
            reason=reason or ("Error" if exit_code else "Completed"),
            message=message,
            started_at=started_at,
            finished_at=finished_at,
            container_id=container_id,
        )
    )


def lost(status: ContainerStatus) -> ContainerStatus:
    """Return the status of a container whose exit code is unknown."""
    state = terminated_state(
        exit_code=KILLED,
        reason=LOST,
        message="The container could not be located when the pod was terminated",
    )
    return _ended(status, state)


def without_restart(status: ContainerStatus) -> ContainerStatus:
    """Replace the state of a container that waits for a restart by its last termination."""
    if not (status.state.waiting and status.last_state.terminated):
        return status
    return replace(status, state=status.last_state, last_state=_NO_STATE)


def with_lost_containers(spec: PodSpec, statuses: ContainerStatuses) -> ContainerStatuses:
    """Return the statuses of a pod that has ended: each container that still waits is lost.

    Containers that were not reached, because an init container before them was not done, keep waiting.
    Source: `TerminatePod` of the kubelet.
    """
    init, regular = tuple(map(without_restart, statuses.init)), tuple(map(without_restart, statuses.regular))
    reached = max((index for index, status in enumerate(init) if not status.state.waiting), default=0)
    init = tuple(
        lost(status) if status.state.waiting and index <= reached else status for index, status in enumerate(init)
    )
    if _is_initialized(spec, init, regular):
        regular = tuple(lost(status) if status.state.waiting else status for status in regular)
    return ContainerStatuses(init, regular, statuses.ephemeral)


def _is_initialized(spec: PodSpec, init: Sequence[ContainerStatus], regular: Sequence[ContainerStatus]) -> bool:
    """Return whether a container has started, or could have: the last init container has succeeded, if any."""
    if not spec.init_containers or any(not status.state.waiting for status in regular):
        return True
    ended = init[-1].state.terminated
    return spec.init_containers[-1].restart_policy != "Always" and ended is not None and ended.exit_code == 0


def reset(status: ContainerStatus) -> ContainerStatus:
    """Return the status of a container that is removed because all containers of its pod are restarted.

    Source: `convertToAPIContainerStatuses` of the kubelet.
    """
    if not status.container_id:
        return status
    message = "The container is removed because RestartAllContainers in place"
    removed = terminated_state(exit_code=KILLED, reason=RESTARTING_ALL, message=message)
    return replace(
        status,
        state=ContainerState(waiting=ContainerStateWaiting(RESTARTING_ALL, message)),
        last_state=status.last_state if status.state.waiting else removed,
        ready=False,
        started=False,
        restart_count=status.restart_count + 1,
        container_id=None,
        allocated_resources=None,
        resources=None,
    )


def _last_state(before: ContainerStatus) -> ContainerState:
    """Return the `lastState` of the run that follows the status `before`."""
    return ContainerState(terminated=before.state.terminated) if before.state.terminated else before.last_state


def _ended(status: ContainerStatus, state: ContainerState) -> ContainerStatus:
    return replace(status, state=state, ready=False, started=None if status.started is None else False)


def container_id(pod_uid: str, name: str, *, restart_count: int = 0) -> str:
    """Return the ID of a container: stable between restarts, different after each restart."""
    return f"{RUNTIME}://{_sha256(pod_uid, name, str(restart_count))}"


@lru_cache(maxsize=1024)
def image_id(image: str) -> str:
    """Return the ID of an image in containerd's format: the full repository name, `@`, a digest.

    >>> image_id("nginx:1.27").partition(":")[0]
    'docker.io/library/nginx@sha256'
    """
    if not image:
        return ""
    name, _, digest = image.partition("@")
    name = _full_name(name)
    directory, slash, repository = name.rpartition("/")
    repository = f"{directory}{slash}{repository.partition(':')[0]}"
    return f"{repository}@{digest or 'sha256:' + _sha256(name)}"


def image_reference(image: str) -> str:
    """Return the full reference of an image, as containerd writes it.

    >>> image_reference("nginx")
    'docker.io/library/nginx:latest'
    """
    name, at, digest = image.partition("@")
    name = _full_name(name)
    is_tagged = ":" in name.rpartition("/")[2]
    return f"{name}{at}{digest}" if digest or is_tagged else f"{name}:latest"


def _full_name(name: str) -> str:
    registry, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." not in registry and ":" not in registry and registry != "localhost":
        return f"docker.io/{name}"
    return name


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
