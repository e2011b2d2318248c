"""The interface of a runtime."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

import msgspec

from app import node
from app.lifecycle.course import Course, Placement
from app.lifecycle.manifest import Manifest
from app.lifecycle.status import PodStatus, Transition
from app.settings import Settings


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
    def begin(self, pod: AcceptedPod, *, now: datetime) -> Course:
        """A pod arrives: say what becomes of it.

        Returns:
            At least one transition, the first at `now`, their times increasing strictly.

        Raises:
            InvalidRequest: this runtime cannot take such a pod; the request is refused with 400.
        """

    @abstractmethod
    def change(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Course:
        """A live pod was changed: say what becomes of it from `now` on, in place of what was said before.

        Args:
            pod: as it is from now on.
            before: what it was until now.
            current: the status that holds, and since when, before `now`. What goes on unchanged keeps its times.

        Returns:
            As for :meth:`begin`; no transitions where the status stays what it is.
        """

    @abstractmethod
    def end(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Course:
        """A pod is deleted: say how it ends. It leaves the live set at once; this is for the record.

        Args:
            pod: with `deleted_at` set to `now`.
            current: the status that holds before `now`.
            grace: what its containers get to end by themselves.
            now: the time of the deletion.
        """

    @abstractmethod
    def proceed(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Course | None:
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
        return node.capacity(self.settings)

    def conditions(self, *, now: datetime, since: datetime) -> list[dict[str, str]]:
        """Give the node's conditions as NodeCondition objects. It must not fail, nor wait for a database.

        Args:
            now: the time of this heartbeat.
            since: when the provider began to serve.
        """
        return node.conditions(now=now, since=since)

    def addresses(self) -> list[dict[str, str]]:
        """Give the node's addresses as NodeAddress objects. It must not fail, nor wait for a database."""
        return node.addresses(self.settings)
