"""`PodStatus` as a kubelet writes it, so far as this provider has something to say.

Source of names, types and what is omitted when empty: the Kubernetes API reference, `core/v1 PodStatus`.
A field without a default is always on the wire; one with a default is left out while it has that value.
"""

from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]
ConditionStatus = Literal["True", "False", "Unknown"]


class _Status(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    pass


class PodCondition(_Status, frozen=True, kw_only=True):
    type: str
    status: ConditionStatus
    observed_generation: int | None = None
    last_probe_time: str | None
    last_transition_time: str
    reason: str | None = None
    message: str | None = None


class ContainerStateWaiting(_Status, frozen=True):
    reason: str
    message: str | None = None


class ContainerStateRunning(_Status, frozen=True):
    started_at: str


class ContainerStateTerminated(_Status, frozen=True, kw_only=True):
    """The times and the ID are missing where nobody knows what became of the container."""

    exit_code: int
    reason: str
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str | None = msgspec.field(name="containerID", default=None)


class ContainerState(_Status, frozen=True):
    """Exactly one of the three is set, or none at all in a `lastState` that never was."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(_Status, frozen=True, kw_only=True):
    name: str
    state: ContainerState
    last_state: ContainerState
    ready: bool
    restart_count: int
    image: str
    image_id: str = msgspec.field(name="imageID")
    container_id: str | None = msgspec.field(name="containerID", default=None)
    started: bool


class PodIP(_Status, frozen=True):
    ip: str


class PodStatus(_Status, frozen=True, kw_only=True):
    observed_generation: int | None = None
    phase: Phase
    conditions: tuple[PodCondition, ...]
    message: str | None = None
    reason: str | None = None
    host_ip: str = msgspec.field(name="hostIP")
    host_ips: tuple[PodIP, ...] = msgspec.field(name="hostIPs")
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: tuple[PodIP, ...] = msgspec.field(name="podIPs", default=())
    start_time: str
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...]
    qos_class: Literal["Guaranteed", "Burstable", "BestEffort"]

    @property
    def summary(self) -> str | None:
        """Why the pod is not simply running: its reason, else what its first waiting container waits for.

        The word that `kubectl get pods` shows in its STATUS column.
        """
        if self.reason:
            return self.reason
        for status in (*self.init_container_statuses, *self.container_statuses):
            if status.state.waiting:
                return status.state.waiting.reason
        return None

    def container(self, name: str) -> ContainerStatus | None:
        """Find a container's status, of whichever kind the container is."""
        for status in (*self.container_statuses, *self.init_container_statuses):
            if status.name == name:
                return status
        return None


class Transition(NamedTuple):
    """A status and the time from which it holds."""

    effective_at: datetime
    status: PodStatus


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(PodStatus)


def encode(status: PodStatus) -> str:
    """Write a status as compact JSON."""
    return _ENCODER.encode(status).decode()


def decode(text: str) -> PodStatus:
    """Read a status that :func:`encode` wrote."""
    return _DECODER.decode(text)
