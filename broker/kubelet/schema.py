"""The fields of a pod that the kubelet API reads, and the interface of its source of pods."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from broker.types import PodReference


class Pods(Protocol):
    """The pods that Kubernetes has on one or several nodes, in JSON with their statuses."""

    def find(self, namespace: str, name: str) -> bytes | None:
        """Return a pod; None where there is none of this name."""
        ...

    def all(self) -> Iterable[bytes]:
        """Return every pod."""
        ...

    def uids(self) -> Collection[str]:
        """Return the UID of every pod."""
        ...


class PodsOfNodes(Pods, Protocol):
    """The pods of all nodes of a broker."""

    def on(self, node: str) -> Pods:
        """Return the pods of one node."""
        ...

    def node_of(self, namespace: str, name: str) -> str | None:
        """Return the node of a pod; None where there is none of this name."""
        ...


class _Schema(msgspec.Struct, rename="camel", frozen=True):
    pass


class Resources(_Schema, frozen=True):
    """Requests and limits of a container: resource name → quantity."""

    requests: Mapping[str, str | int] | None = None
    limits: Mapping[str, str | int] | None = None


class Probe(_Schema, frozen=True):
    """When a probe runs, in seconds."""

    period_seconds: int = 10
    initial_delay_seconds: int = 0


class Container(_Schema, frozen=True):
    """A container of `spec`."""

    name: str
    tty: bool = False
    resources: Resources = Resources()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None


class Spec(_Schema, frozen=True):
    """The containers of a pod."""

    containers: list[Container]
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None


class Running(_Schema, frozen=True):
    """State of a running container."""

    started_at: datetime | None = None


class Terminated(_Schema, frozen=True):
    """State of a terminated container."""


class State(_Schema, frozen=True):
    """State of a container; waiting where both are None."""

    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Schema, frozen=True):
    """Status of a container."""

    name: str
    state: State = State()
    restart_count: int = 0
    ready: bool = False
    started: bool | None = None
    image: str = ""
    container_id: str = msgspec.field(name="containerID", default="")


class PodStatus(_Schema, frozen=True):
    """Status of a pod."""

    phase: str = ""
    start_time: datetime | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    ephemeral_container_statuses: list[ContainerStatus] | None = None


class Pod(_Schema, frozen=True):
    """A pod."""

    metadata: PodReference
    spec: Spec
    status: PodStatus = PodStatus()

    def containers(self) -> dict[str, Container]:
        """Return all containers by name, including init and ephemeral containers."""
        spec = self.spec
        containers = (*spec.containers, *(spec.init_containers or ()), *(spec.ephemeral_containers or ()))
        return {container.name: container for container in containers}

    def container_statuses(self) -> Iterator[ContainerStatus]:
        """Yield the status of every container."""
        yield from self.status.init_container_statuses or ()
        yield from self.status.container_statuses or ()
        yield from self.status.ephemeral_container_statuses or ()


_decoder = msgspec.json.Decoder(Pod)


def parse_pod(raw: bytes) -> Pod:
    """Parse a pod."""
    return _decoder.decode(raw)
