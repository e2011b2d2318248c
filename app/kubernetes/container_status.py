"""The status of one container in each of its states, and the IDs that a container runtime would have given it.

Source: `convertToAPIContainerStatuses` of the kubelet.
"""

import hashlib
from functools import lru_cache

from msgspec.structs import replace

from app.kubernetes.pod import Container
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
_NEVER = ContainerState()


def waiting(
    container: Container,
    *,
    reason: str,
    message: str | None = None,
    before: ContainerStatus | None = None,
    started: bool | None = False,
) -> ContainerStatus:
    """Describe a container that waits: for its first run, or for another after the one `before`."""
    state = ContainerState(waiting=ContainerStateWaiting(reason, message))
    if before and before.container_id:
        last = ContainerState(terminated=before.state.terminated) if before.state.terminated else before.last_state
        return replace(before, state=state, last_state=last, ready=False, started=started)
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=_NEVER,
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
    """Describe a container that starts at `at`: for the first time, or after the run `before`."""
    restart_count, last = 0, _NEVER
    if before and before.container_id:
        restart_count = before.restart_count + 1
        last = ContainerState(terminated=before.state.terminated) if before.state.terminated else before.last_state
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
    """Describe a container that ran and ends at `at`."""
    ended = ContainerStateTerminated(
        exit_code=exit_code,
        reason=reason or ("Error" if exit_code else "Completed"),
        started_at=status.state.running.started_at if status.state.running else at,
        finished_at=at,
        container_id=status.container_id,
    )
    return replace(
        status,
        state=ContainerState(terminated=ended),
        ready=False,
        started=None if status.started is None else False,
    )


def lost(status: ContainerStatus) -> ContainerStatus:
    """Describe a container of which nobody knows how it ended."""
    ended = ContainerStateTerminated(
        exit_code=KILLED,
        reason="ContainerStatusUnknown",
        message="The container could not be located when the pod was terminated",
    )
    return replace(
        status,
        state=ContainerState(terminated=ended),
        ready=False,
        started=None if status.started is None else False,
    )


def container_id(pod_uid: str, name: str, *, restart_count: int = 0) -> str:
    """Give a container its ID: the same at every reading, another after every restart."""
    return f"{RUNTIME}://{_sha256(pod_uid, name, str(restart_count))}"


@lru_cache(maxsize=1024)
def image_id(image: str) -> str:
    """Give an image its ID as containerd does: the whole name of the repository, `@`, a digest.

    >>> image_id("nginx:1.27").partition(":")[0]
    'docker.io/library/nginx@sha256'
    """
    if not image:
        return ""
    name, _, digest = image.partition("@")
    name = _whole_name(name)
    directory, slash, repository = name.rpartition("/")
    repository = f"{directory}{slash}{repository.partition(':')[0]}"
    return f"{repository}@{digest or 'sha256:' + _sha256(name)}"


def image_reference(image: str) -> str:
    """Give an image its whole name, as containerd speaks of it.

    >>> image_reference("nginx")
    'docker.io/library/nginx:latest'
    """
    name, at, digest = image.partition("@")
    name = _whole_name(name)
    is_tagged = ":" in name.rpartition("/")[2]
    return f"{name}{at}{digest}" if digest or is_tagged else f"{name}:latest"


def _whole_name(name: str) -> str:
    registry, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." not in registry and ":" not in registry and registry != "localhost":
        return f"docker.io/{name}"
    return name


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
