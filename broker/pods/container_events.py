"""The events of a kubelet on the containers of a pod, derived from its statuses.

A kubelet records an event when it starts or stops a container. Here a provider does so, and reports statuses only.
An event is derived where the statuses show with certainty that a kubelet would have recorded it:

* A run of a container that only the later one of two successive statuses in Kubernetes shows, also as ended:
  `Started`. A run is the same in both if its container ID is; its `startedAt`, where one has no ID.
* A new reason for which a container waits, such as `CrashLoopBackOff`: the events of that reason.
* The termination of the pod begins while a container runs: `Killing`.

Statuses that are read again after a restart of the broker are in Kubernetes already: no event is recorded twice.

A status has no trace of an image that was pulled (`Pulling`, `Pulled`) or of a failed probe (`Unhealthy`). A
container that was killed because of a probe, or because its image has changed, may as well have ended by itself.
`Created` is left out: it adds nothing to `Started`, and every event is a request to the API server.

Source: `startContainer`, `killContainer` and `doBackOff` in `pkg/kubelet/kuberuntime`, `EnsureImageExists` in
`pkg/kubelet/images`, `fieldPath` in `pkg/kubelet/container/ref.go`, of Kubernetes 1.36.
"""

from collections.abc import Iterator
from typing import NamedTuple

from broker.kubernetes.pods import CONTAINER_STATUSES
from broker.pods.events import Kind
from broker.pods.status_merge import objects
from broker.types import Object

_NOT_STARTED = ("ContainerCannotRun", "StartError")
"""Reasons with which a container runtime reports a container that was created and could not be started."""


class ContainerEvent(NamedTuple):
    """An event on a container; the fields are parameters of :meth:`~broker.pods.events.EventRecorder.record`."""

    field_path: str
    kind: Kind
    reason: str
    message: str


class _Run(NamedTuple):
    """A run of a container: what identifies it, as far as the status has it."""

    container_id: str | None
    started_at: str | None

    def is_same(self, other: "_Run") -> bool:
        if self.container_id and other.container_id:
            return self.container_id == other.container_id
        return self.started_at == other.started_at


def change_events(pod: Object, before: Object, after: Object) -> Iterator[ContainerEvent]:
    """Yield the events of a change of status.

    Args:
        pod: the pod.
        before: its status in Kubernetes before the change; empty for none.
        after: its status in Kubernetes after the change.
    """
    for kind, statuses in CONTAINER_STATUSES.items():
        if not (listed := after.get(statuses)) or listed == before.get(statuses):
            continue
        known = {status["name"]: status for status in before.get(statuses) or ()}
        specs = {container["name"]: container for container in pod["spec"].get(kind) or ()}
        for status in listed:
            if container := specs.get(status["name"]):
                for event in _changes(pod, container, known.get(status["name"], {}), status):
                    yield ContainerEvent(_field_path(kind, status), *event)


def stop_events(status: Object) -> Iterator[ContainerEvent]:
    """Yield the events of a pod whose containers are about to be stopped.

    Args:
        status: its last known status, as its provider reports it or as Kubernetes has it.
    """
    for kind, statuses in CONTAINER_STATUSES.items():
        for container in objects(status.get(statuses), "name"):
            if _state(container, "running") is not None:
                message = f"Stopping container {container['name']}"
                yield ContainerEvent(_field_path(kind, container), "Normal", "Killing", message)


def _field_path(kind: str, container: Object) -> str:
    return f"spec.{kind}{{{container['name']}}}"


_Event = tuple[Kind, str, str]


def _changes(pod: Object, container: Object, before: Object, after: Object) -> Iterator[_Event]:
    """Yield type, reason and message of the events of one container."""
    known = _runs(before)
    started = [run for run in _runs(after) if not any(map(run.is_same, known))]
    for _ in started:
        yield "Normal", "Started", "Container started"
    waiting = _state(after, "waiting")
    # With the longest back-off, a container that has failed once more waits with the same reason and message.
    if waiting and (started or waiting != _state(before, "waiting")):
        yield from _waiting_events(pod, container, waiting.get("reason") or "", waiting.get("message") or "")


def _waiting_events(pod: Object, container: Object, reason: str, message: str) -> Iterator[_Event]:
    """Yield the events with which a container begins to wait for a reason; none for a reason without a failure."""
    image = container.get("image") or ""
    match reason:
        case "CrashLoopBackOff":
            metadata = pod["metadata"]
            of = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            yield "Warning", "BackOff", f"Back-off restarting failed container {container['name']} in pod {of}"
        case "ErrImagePull":
            yield "Normal", "Pulling", f'Pulling image "{image}"'
            if message:
                yield "Warning", "Failed", f'Failed to pull image "{image}": {message}'
            yield "Warning", "Failed", f"Error: {reason}"
        case "ImagePullBackOff":
            yield "Normal", "BackOff", f'Back-off pulling image "{image}"'
            yield "Warning", "Failed", f"Error: {reason}"
        case "ErrImageNeverPull":
            text = f'Container image "{image}" is not present with pull policy of Never'
            yield "Warning", "ErrImageNeverPull", text
            yield "Warning", "Failed", f"Error: {reason}"
        case "ImageInspectError" | "InvalidImageName":
            if message:
                yield "Warning", "InspectFailed", message
            yield "Warning", "Failed", f"Error: {reason}"
        case "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError":
            yield "Warning", "Failed", f"Error: {message or reason}"
        case "PostStartHookError":
            yield "Warning", "FailedPostStartHook", "PostStartHook failed"
            yield "Normal", "Killing", "FailedPostStartHook"


def _runs(status: Object) -> list[_Run]:
    """Return the runs that a container's status shows, the oldest first."""
    runs = []
    for field in ("lastState", "state"):
        ended = _state(status, "terminated", field)
        if ended and ended.get("startedAt") and ended.get("reason") not in _NOT_STARTED:
            runs.append(_Run(ended.get("containerID"), ended["startedAt"]))
    if (running := _state(status, "running")) is not None:
        runs.append(_Run(status.get("containerID"), running.get("startedAt")))
    return runs


def _state(status: Object, name: str, field: str = "state") -> Object | None:
    """Return a state of a container, which may be empty; None where it is in another one."""
    states = status.get(field)
    found = states.get(name) if isinstance(states, dict) else None
    return found if isinstance(found, dict) else None
