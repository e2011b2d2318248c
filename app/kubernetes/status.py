"""The `PodStatus` type: the fields that this provider sets, as a kubelet writes them.

A field without a default is always encoded; a field with a default is omitted while it has that value. Source of
the names, the types and the omitted fields: the Kubernetes API reference, `core/v1 PodStatus`.
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
    """The times and the ID are missing if the container could not be located."""

    exit_code: int
    reason: str
    message: str | None = None
    signal: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str | None = msgspec.field(name="containerID", default=None)


class ContainerState(_Status, frozen=True):
    """Exactly one of the three is set; none in the `lastState` of a container without a previous run."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ResourceStatus(_Status, frozen=True, kw_only=True):
    """The actual resources of a container: resource → quantity."""

    limits: dict[str, str] | None = None
    requests: dict[str, str] | None = None


class ContainerStatus(_Status, frozen=True, kw_only=True):
    """`started` is None for ephemeral containers."""

    name: str
    state: ContainerState
    last_state: ContainerState
    ready: bool
    restart_count: int
    image: str
    image_id: str = msgspec.field(name="imageID")
    container_id: str | None = msgspec.field(name="containerID", default=None)
    started: bool | None = None
    allocated_resources: dict[str, str] | None = None
    resources: ResourceStatus | None = None


class PodIP(_Status, frozen=True):
    ip: str


class PodStatus(_Status, frozen=True, kw_only=True):
    """`allocated_resources` and `resources` are those of the pod as a whole; None if its spec has none."""

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
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    allocated_resources: dict[str, str] | None = None
    resources: ResourceStatus | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the pod has ended."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def all_containers(self) -> tuple[ContainerStatus, ...]:
        """The statuses of all containers, of every kind."""
        return (
            *self.init_container_statuses,
            *self.container_statuses,
            *self.ephemeral_container_statuses,
        )

    def container(self, name: str) -> ContainerStatus | None:
        """Return the status of a container of any kind; None if there is none of this name."""
        return next((status for status in self.all_containers if status.name == name), None)


class Transition(NamedTuple):
    """A status and the time from which it holds."""

    effective_at: datetime
    status: PodStatus

    def next_timestamp(self, now: datetime) -> datetime:
        """Return the time of a status that follows this one: now, but later than this one."""
        return max(now, self.effective_at + datetime.resolution)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(PodStatus)


def encode_status(status: PodStatus) -> str:
    """Return a status as compact JSON."""
    return _ENCODER.encode(status).decode()


def decode_status(text: str) -> PodStatus:
    """Parse a status that :func:`encode_status` returned."""
    return _DECODER.decode(text)
