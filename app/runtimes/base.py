"""The interface of a runtime, and the types that it exchanges with the provider."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import quote

import msgspec

from app.core.errors import NotFound, NotSupported
from app.core.nodes import NodeOverride
from app.core.settings import Settings
from app.core.timestamps import rfc3339
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import PodReference
from app.kubernetes.stats import NodeStats
from app.kubernetes.status import PodStatus, Transition
from app.kubernetes.volumes import Volume
from app.runtimes.streams import Session, StreamOptions
from app.runtimes.usage import EarlierUsage, PodUsage

_NODE_CONDITIONS = (
    ("Ready", "True", "ProviderReady", "the provider answers"),
    ("MemoryPressure", "False", "ProviderHasSufficientMemory", "the provider has sufficient memory"),
    ("DiskPressure", "False", "ProviderHasNoDiskPressure", "the provider has no disk pressure"),
    ("PIDPressure", "False", "ProviderHasSufficientPID", "the provider has sufficient process IDs"),
    ("NetworkUnavailable", "False", "ProviderNetworkReady", "the provider has the network that its pods need"),
)


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of a pod and its node.

    Attributes:
        host_ips: the addresses of the node; the first is `hostIP`.
        pod_ip: the pod's own address; None with `hostNetwork`, where the pod has the node's addresses.
    """

    host_ips: tuple[str, ...]
    pod_ip: str | None

    @property
    def pod_ips(self) -> tuple[str, ...]:
        """The addresses of the pod; the first is `podIP`."""
        return self.host_ips if self.pod_ip is None else (self.pod_ip,)

    @property
    def fields(self) -> dict[str, str]:
        """The addresses by the `fieldPath` of a variable."""
        return {
            "status.hostIP": self.host_ips[0],
            "status.hostIPs": ",".join(self.host_ips),
            "status.podIP": self.pod_ips[0],
            "status.podIPs": ",".join(self.pod_ips),
        }


class AcceptedPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that this node has accepted.

    Attributes:
        manifest: the pod as it was received; its UID is set.
        placement: the addresses of the node and of the pod.
        node_name: the name of the node.
        accepted_at: the time of its acceptance.
        starts_at: the time from which its containers may start: later than its acceptance if another pod had its
            name and had to end first. None while that pod has not ended.
        deletion_requested_at: the time of its first delete request; None while there is none.
        grace: the grace period of its deletion, from that request on; None while there is none.
        continues_at: the time from which more is to be known than its stored statuses; None if they are complete.
    """

    manifest: Manifest
    placement: Placement
    node_name: str = ""
    accepted_at: datetime
    starts_at: datetime | None = None
    deletion_requested_at: datetime | None = None
    grace: timedelta | None = None
    continues_at: datetime | None = None

    @property
    def key(self) -> str:
        """Name for files and jobs. A pod with the same UID that is created after its deletion has another."""
        uid = quote(self.manifest.pod.metadata.uid or "", safe="")
        return f"{self.accepted_at:%Y%m%dT%H%M%S.%f}-{uid}"


class LogLine(NamedTuple):
    """A line of a container's log, without its line feed, and the time at which it was written.

    A very long line may be returned in parts; `ends` is whether the line ends with this part.
    """

    time: datetime
    text: bytes
    ends: bool = True


class Timeline(NamedTuple):
    """The statuses of a pod over time.

    Attributes:
        transitions: statuses, each with the time from which it holds; the times increase strictly.
        continues_at: the time from which :meth:`Runtime.advance` is called for more; None if this is complete.
        problems: the pod's annotations that are invalid, each with the reason, for its status and the audit log.
    """

    transitions: list[Transition]
    continues_at: datetime | None = None
    problems: tuple[str, ...] = ()

    def check_order(self, *, after: datetime | None = None) -> None:
        """Check that the times of the transitions increase strictly, from `after` on.

        Raises:
            ValueError: they do not.
        """
        times = [time for time, _ in self.transitions]
        if any(later <= earlier for earlier, later in pairwise([after, *times] if after else times)):
            raise ValueError("the times of the transitions do not increase")


class Runtime(ABC):
    """Decides the statuses of the node's pods and does their work.

    There is one instance in each process, created before the first request. Several processes and many threads use
    a runtime at once, so the state of a pod belongs in its rows or on disk, not in the instance. All times are
    aware, in UTC.

    A runtime returns timelines: statuses, each with the time from which it holds. `create`, `update` and `delete`
    are called inside the transaction that records the request, while every other write of the node waits; they
    compute and do no I/O. `sync` is called after the commit and does the work. `advance` is called when a pod is
    read whose timeline continues; it may do I/O.
    """

    has_pod_network: ClassVar[bool] = True
    """Whether each pod gets an address from POD_CIDR. Otherwise pods have the node's addresses."""

    computes_ahead: ClassVar[bool] = True
    """Whether it can return statuses ahead of their time, and complete timelines of pods that have not ended."""

    reports_usage: ClassVar[bool] = False
    """Whether :meth:`usage` is implemented. Otherwise the provider does not have the extension `podStats`."""

    reports_past_usage: ClassVar[bool] = False
    """Whether :meth:`PodUsage.levels` returns the usage at any time in the past. Otherwise there are no charts."""

    reports_node_usage: ClassVar[bool] = False
    """Whether :meth:`node_usage` is implemented. Otherwise the provider lacks the extension `nodeStats`."""

    keeps_deadlines: ClassVar[bool] = False
    """Whether it ends a pod that exceeds its `activeDeadlineSeconds`, counted from the start time of its status.
    Otherwise the provider does not have the extension `activeDeadline`, and the broker deletes such a pod."""

    waits_for_environments: ClassVar[bool] = False
    """Whether a container waits whose `env` or `envFrom` refers to a ConfigMap or Secret that does not exist yet,
    and starts when an update resolves it. Otherwise the provider does not have the extension
    `containerEnvironments`, and the broker sends a pod when all of its environments are resolved."""

    takes_volumes: ClassVar[bool] = False
    """Whether it wants the files of volumes. Otherwise the provider does not have the extension `podVolumes`."""

    keeps_logs: ClassVar[timedelta | None] = timedelta(0)
    """How long :meth:`logs` can be called for a pod after the request to delete it, if its containers have ended.
    None for as long as the record of the pod exists."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """Return the timeline of a new pod.

        For a pod whose name another pod still has, this is called twice: at the request, to refuse an invalid
        pod, and once the other pod has ended, with `pod.starts_at`. Only the second timeline is stored.

        Returns:
            At least one transition, the first at `now`.

        Raises:
            InvalidRequest: this runtime cannot run such a pod; the request is refused with 400.
        """

    @abstractmethod
    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """Return the timeline of an updated live pod from `now` on. It replaces the rest of the previous timeline.

        Args:
            pod: the pod from now on.
            before: its manifest until now.
            current: the status until now. Conditions and states that do not change keep its times.
            now: the time of the update.

        Returns:
            As for :meth:`create`; without transitions if the status does not change.

        Raises:
            InvalidRequest: this runtime cannot make the change; the request is refused with 400.
        """

    @abstractmethod
    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        """Return the timeline of a pod whose deletion was requested: how its containers end.

        The pod is reported until its last status is terminal or, without one, until the timeline is complete.
        Then it is gone. Called again if a later request shortens the grace period.

        Args:
            pod: the pod, with `deletion_requested_at`.
            current: the status until now.
            grace: the grace period of its containers, from `pod.deletion_requested_at` on.
            now: the time of this request.
        """

    @abstractmethod
    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        """Return the continuation of a timeline whose `continues_at` has passed.

        Called outside of any transaction, possibly by several processes at once; the first result is stored.

        Args:
            pod: the pod, whose deletion may have been requested.
            current: the last status that is stored.
            now: the current time.

        Returns:
            Transitions later than `current`; missed ones are in the past. None if nothing has changed.

        Raises:
            Unavailable: no pod can be advanced now; reads are answered with 503. After any other exception, which
                is logged, this pod keeps its status until the next call.
        """

    def sync(self, pod: AcceptedPod) -> None:  # noqa: B027 - optional: not every runtime does work
        """Do the work of a pod. Called after a create, update or delete is committed.

        A crash can prevent this call, and several processes can make it for the same pod. It must be idempotent,
        and `advance` must detect work that is missing. An exception is logged; the request has succeeded.
        """

    def put_volumes(self, pod: PodReference, volumes: Sequence[Volume]) -> None:  # noqa: B027 - optional
        """Take the files of volumes of a pod, which `create` may not know yet; by default, drop them.

        Called outside of any transaction, with `takes_volumes`: before the pod is created, and whenever something
        has changed, with the volumes that have. A volume that is not among them stays as it is. Files of a UID
        that is not created within ten minutes must be removed. A call can be repeated, and several processes can
        make it at once. Files may hold secrets: no other user may read them, and no error may quote them.

        Args:
            pod: the pod; its UID is set.
            volumes: each with all of its files.

        Raises:
            Unavailable: they cannot be stored now; the client sends them again.
        """

    @abstractmethod
    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Yield the log of one run of a container.

        Args:
            pod: the pod.
            container: the name of a container in it, of any kind, that has started.
            previous: read the run before the current one.
            status: reads the pod's current status; for the log at a past time, the status of that time.

        Returns:
            Every line so far; then None for each step at which no further line is available. The iterator ends
            after the last line of a container that has ended. A reader that does not follow stops at None.
        """

    def usage(self, pod: AcceptedPod, *, earlier: Sequence[EarlierUsage] = ()) -> PodUsage | None:
        """Return what reads the usage of a pod; None if the usage of this pod is unknown.

        Called once in each process for each version of a pod, and by an update for both versions. After an
        exception here or in what is returned, which is logged, the usage of this pod alone is unknown.

        Args:
            pod: the pod.
            earlier: the usages that the pod had until updates changed them, in order.
        """
        return None

    def exec(self, pod: AcceptedPod, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
        """Start a command in a container that is running.

        Called outside of any transaction, in a thread of a request; the session outlasts the request. See
        :mod:`app.runtimes.streams` for ways to make one.

        Raises:
            InvalidRequest: the command cannot be started.
            NotSupported: this runtime has no commands.
        """
        raise NotSupported("the runtime of this provider does not support exec")

    def attach(
        self, pod: AcceptedPod, container: str, streams: StreamOptions, *, status: Callable[[], PodStatus]
    ) -> Session:
        """Attach to the streams of a container that is running; called as :meth:`exec`.

        A hang-up detaches, and the container goes on. The session ends with the container, with exit code 0.

        Args:
            status: reads the pod's current status.

        Raises:
            InvalidRequest: the container has no such stream.
            NotSupported: this runtime cannot attach.
        """
        raise NotSupported("the runtime of this provider does not support attach")

    def port_forward(self, pod: AcceptedPod, port: int) -> socket.socket:
        """Return a socket that is connected to a TCP port of a pod; called as :meth:`exec`.

        Raises:
            NotSupported: this runtime forwards no ports.
            Unavailable: nothing accepts the connection.
        """
        raise NotSupported("the runtime of this provider does not support port-forward")

    def capacity(self) -> dict[str, str]:
        """Return the node's capacity, resource → quantity. Must not fail or wait for a database."""
        return dict(self.settings.capacity)

    @property
    def describes_nodes(self) -> bool:
        """Whether :meth:`node_override` differs by node. Otherwise the provider lacks the extension `nodes`."""
        return bool(self.settings.node_overrides)

    def node_override(self, node: str) -> NodeOverride:
        """Return what differs on a node of the fleet from :meth:`capacity`, :meth:`addresses` and the settings.

        Called for each pod that is created; must not fail or wait for a database.

        Args:
            node: the name of the node, which may be any name.
        """
        return self.settings.node_override(node)

    def directories(self) -> tuple[Path, ...]:
        """Return the directories that are written to; while one is almost full, the node has disk pressure."""
        return ()

    def node_usage(self) -> NodeStats:
        """Return the usage of the machine that runs the pods.

        Raises:
            NotFound: this runtime does not report it.
            Unavailable: it cannot be read now.
        """
        raise NotFound(f"the runtime {type(self).__name__} does not report the usage of a machine")

    def conditions(self, *, now: datetime, since: datetime) -> list[dict[str, str]]:
        """Return the node's conditions as NodeCondition objects. Must not fail or wait for a database.

        Args:
            now: the time of this heartbeat.
            since: the time at which the provider started to serve.
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
        """Return the node's addresses as NodeAddress objects. Must not fail or wait for a database."""
        return [{"type": address.type, "address": address.address} for address in self.settings.addresses]
