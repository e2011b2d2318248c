"""The interface of a runtime."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

import msgspec

from app.core.settings import Settings
from app.core.timestamps import rfc3339
from app.kubernetes.pod import Manifest
from app.kubernetes.status import PodStatus, Transition

_NODE_CONDITIONS = (
    ("Ready", "True", "ProviderReady", "the provider answers"),
    ("MemoryPressure", "False", "ProviderHasSufficientMemory", "the provider has sufficient memory"),
    ("DiskPressure", "False", "ProviderHasNoDiskPressure", "the provider has no disk pressure"),
    ("PIDPressure", "False", "ProviderHasSufficientPID", "the provider has sufficient process IDs"),
    ("NetworkUnavailable", "False", "ProviderNetworkReady", "the provider has the network that its pods need"),
)


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pod runs, as far as its status says so.

    Attributes:
        host_ips: the addresses of the node; the first is `hostIP`.
        pod_ip: the pod's own address; None with `hostNetwork`, where it has the node's.
    """

    host_ips: tuple[str, ...]
    pod_ip: str | None

    @property
    def pod_ips(self) -> tuple[str, ...]:
        """The addresses under which the pod is reached; the first is `podIP`."""
        return self.host_ips if self.pod_ip is None else (self.pod_ip,)


class AcceptedPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that this node has taken on.

    Attributes:
        manifest: the pod as it was received; its UID is set.
        placement: the addresses of the node and of the pod.
        accepted_at: when it arrived here.
        deleted_at: when it was deleted; None while it is live.
        grace: what its containers get to end by themselves, where the deletion says so.
    """

    manifest: Manifest
    placement: Placement
    accepted_at: datetime
    deleted_at: datetime | None = None
    grace: timedelta | None = None


class LogLine(NamedTuple):
    """A line that a container wrote, without its line feed, and when it did so."""

    time: datetime
    text: bytes


class Timeline(NamedTuple):
    """What becomes of a pod.

    Attributes:
        transitions: statuses, each with the time from which it holds; the times increase strictly.
        continues_at: from when on the runtime is to be asked for more; None where this is all.
        problems: what of the pod's wishes could not be understood, in words for its status and the audit.
    """

    transitions: list[Transition]
    continues_at: datetime | None = None
    problems: tuple[str, ...] = ()


class Runtime(ABC):
    """What a node does with its pods.

    One instance a process, made before the first request; several processes and many threads use a runtime at
    once, so whatever a pod is lives in its rows or on the disk, not in the instance. All times are aware UTC.

    A runtime speaks in courses: statuses, each with the time from which it holds. `begin`, `change` and `end` are
    called inside the transaction that records the request, while every other write of the node waits: they
    compute and do no I/O. `sync` follows when the transaction is committed, and does the work. `proceed` is asked
    for more when somebody reads a pod whose course says that it goes on; it may look at the world.
    """

    has_pod_network: ClassVar[bool] = True
    """Whether pods get addresses of their own from POD_CIDR. Otherwise all of them have the node's."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """A pod arrives: say what becomes of it.

        Returns:
            At least one transition, the first at `now`, their times increasing strictly.

        Raises:
            InvalidRequest: this runtime cannot take such a pod; the request is refused with 400.
        """

    @abstractmethod
    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """A live pod was changed: say what becomes of it from `now` on, in place of what was said before.

        Args:
            pod: as it is from now on.
            before: what it was until now.
            current: the status that holds, and since when, before `now`. What goes on unchanged keeps its times.

        Returns:
            As for :meth:`begin`; no transitions where the status stays what it is.
        """

    @abstractmethod
    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        """A pod is deleted: say how it ends. It leaves the live set at once; this is for the record.

        Args:
            pod: with `deleted_at` set to `now`.
            current: the status that holds before `now`.
            grace: what its containers get to end by themselves.
            now: the time of the deletion.
        """

    @abstractmethod
    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        """Go on with a course whose `continues_at` has come.

        Called outside of any transaction, by several processes at once perhaps; what the first says is stored.

        Args:
            pod: perhaps a deleted one, where the course of its end goes on.
            current: the last status that is stored.
            now: the present.

        Returns:
            Transitions later than `current`, in the past where they were missed; None where there is nothing new.
        """

    def accepted(
        self,
        manifest: Manifest,
        *,
        pod_ip: str | None,
        accepted_at: datetime,
        deleted_at: datetime | None = None,
        grace: timedelta | None = None,
    ) -> AcceptedPod:
        """Describe a pod of this node, from what its row has."""
        return AcceptedPod(
            manifest=manifest,
            placement=Placement(host_ips=self.settings.host_ips, pod_ip=pod_ip),
            accepted_at=accepted_at,
            deleted_at=deleted_at,
            grace=grace,
        )

    def sync(self, pod: AcceptedPod) -> None:  # noqa: B027 - a runtime that does no work has nothing to do here
        """Make the world as the rows say. Called after a create, update or delete is committed.

        A crash can come between the commit and this call, and the same pod can come twice: it must be safe to
        repeat, and `proceed` must find out what was left undone.
        """

    @abstractmethod
    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Give what one run of a container wrote.

        Args:
            pod: the pod.
            container: the name of a container in it, of whichever kind, that has started.
            previous: the run before the present one, instead of that.
            status: reads the pod's status anew.

        Returns:
            Every line so far; then None, each time that it is asked while nothing more is there yet. The end comes
            when the container has ended and all of its lines were given. Who does not follow stops at None.
        """

    def capacity(self) -> dict[str, str]:
        """Give the node's resources, resource → quantity. It must not fail, nor wait for a database."""
        return dict(self.settings.capacity)

    def conditions(self, *, now: datetime, since: datetime) -> list[dict[str, str]]:
        """Give the node's conditions as NodeCondition objects. It must not fail, nor wait for a database.

        Args:
            now: the time of this heartbeat.
            since: when the provider began to serve.
        """
        return [
            {
                "type": type_,
                "status": status,
                "lastHeartbeatTime": rfc3339(now),
                "lastTransitionTime": rfc3339(since),
                "reason": reason,
                "message": message,
            }
            for type_, status, reason, message in _NODE_CONDITIONS
        ]

    def addresses(self) -> list[dict[str, str]]:
        """Give the node's addresses as NodeAddress objects. It must not fail, nor wait for a database."""
        return [{"type": address.type, "address": address.address} for address in self.settings.addresses]
