"""The status of one container, and the IDs that a container runtime would have given it."""

import hashlib

from app.lifecycle.manifest import Container
from app.lifecycle.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)

RUNTIME = "synthetic"
_NEVER = ContainerState()


def waiting(container: Container, *, reason: str) -> ContainerStatus:
    """Describe a container that has not started, as a kubelet does: no IDs yet."""
    return ContainerStatus(
        name=container.name,
        state=ContainerState(waiting=ContainerStateWaiting(reason=reason)),
        last_state=_NEVER,
        ready=False,
        restart_count=0,
        image=container.image or "",
        image_id="",
        started=False,
    )


def running(container: Container, *, pod_uid: str, at: str, previous: ContainerStatus | None) -> ContainerStatus:
    """Describe a container that runs since `at`, or since it did before (`previous`)."""
    since = previous.state.running if previous else None
    return _started(
        container,
        pod_uid=pod_uid,
        state=ContainerState(running=since or ContainerStateRunning(started_at=at)),
        ready=True,
        started=True,
    )


def completed(container: Container, *, pod_uid: str, at: str, previous: ContainerStatus | None) -> ContainerStatus:
    """Describe an init container that ran and ended well at `at`, or when it did before (`previous`)."""
    before = previous.state.terminated if previous else None
    terminated = before or ContainerStateTerminated(
        exit_code=0,
        reason="Completed",
        started_at=at,
        finished_at=at,
        container_id=container_id(pod_uid, container.name),
    )
    return _started(
        container,
        pod_uid=pod_uid,
        state=ContainerState(terminated=terminated),
        ready=True,
        started=False,
    )


def container_id(pod_uid: str, name: str, *, restart_count: int = 0) -> str:
    """Give a container its ID: the same at every reading, another after every restart."""
    return f"{RUNTIME}://{_sha256(pod_uid, name, str(restart_count))}"


def image_id(image: str) -> str:
    """Give an image its ID as containerd does: the whole name of the repository, `@`, a digest.

    >>> image_id("nginx:1.27").partition(":")[0]
    'docker.io/library/nginx@sha256'
    """
    if not image:
        return ""
    name, _, digest = image.partition("@")
    registry, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in registry and ":" not in registry and registry != "localhost":
        name = f"docker.io/{name}"
    directory, slash, repository = name.rpartition("/")
    repository = f"{directory}{slash}{repository.partition(':')[0]}"
    return f"{repository}@{digest or 'sha256:' + _sha256(name)}"


def _started(
    container: Container, *, pod_uid: str, state: ContainerState, ready: bool, started: bool
) -> ContainerStatus:
    image = container.image or ""
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=_NEVER,
        ready=ready,
        restart_count=0,
        image=image,
        image_id=image_id(image),
        container_id=container_id(pod_uid, container.name),
        started=started,
    )


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
