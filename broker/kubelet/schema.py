"""The little that the kubelet API looks at in a pod, and where it gets pods from."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

import msgspec


class Pods(Protocol):
    """The pods that Kubernetes has on this node, each in JSON with its status."""

    def find(self, namespace: str, name: str) -> bytes | None:
        """Give a pod; None where there is none of this name."""
        ...

    def all(self) -> Iterable[bytes]:
        """Give every pod."""
        ...


class _Schema(msgspec.Struct, rename="camel", frozen=True):
    pass


class PodReference(_Schema, frozen=True):
    """Which pod."""

    name: str
    namespace: str
    uid: str


class Container(_Schema, frozen=True):
    """A container of the specification."""

    name: str


class Spec(_Schema, frozen=True):
    """Which containers there are to be."""

    containers: list[Container]
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None


class Running(_Schema, frozen=True):
    """The container runs."""

    started_at: datetime | None = None


class Terminated(_Schema, frozen=True):
    """The container has ended."""


class State(_Schema, frozen=True):
    """Where a container is in its life; waiting where it is neither."""

    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Schema, frozen=True):
    """How a container is."""

    name: str
    state: State = State()
    restart_count: int = 0


class Status(_Schema, frozen=True):
    """How a pod is."""

    phase: str = ""
    start_time: datetime | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    ephemeral_container_statuses: list[ContainerStatus] | None = None


class Pod(_Schema, frozen=True):
    """A pod, as far as it is looked at here."""

    metadata: PodReference
    spec: Spec
    status: Status = Status()

    def container_names(self) -> set[str]:
        """Name every container, those that initialize and those that debug included."""
        spec = self.spec
        containers = (*spec.containers, *(spec.init_containers or ()), *(spec.ephemeral_containers or ()))
        return {container.name for container in containers}

    def container_statuses(self) -> Iterator[ContainerStatus]:
        """Give the status of every container that has one."""
        yield from self.status.init_container_statuses or ()
        yield from self.status.container_statuses or ()
        yield from self.status.ephemeral_container_statuses or ()


_decoder = msgspec.json.Decoder(Pod)


def parse_pod(raw: bytes) -> Pod:
    """Read a pod that the API server has checked."""
    return _decoder.decode(raw)
