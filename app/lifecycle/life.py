"""All that the life of a pod follows from: the pod, where and when it was accepted, what was asked of it.

It is made anew for every question. What has happened so far is in the pod's status, and nowhere else.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from app.lifecycle.manifest import Container, Pod
from app.lifecycle.qos import QosClass, qos_class
from app.lifecycle.runs import FAIL_AFTER, Run, run
from app.lifecycle.steering import NO_ORDERS, Orders, Steering, jitter, steering

SECOND = timedelta(seconds=1)
Kind = Literal["init", "sidecar", "regular", "ephemeral"]


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


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every pod that says nothing else.

    Attributes:
        start_delay: from a pod's arrival to its containers' start.
        init_duration: how long an init container runs, in seconds.
        job_duration: how long a container of a Job runs, in seconds, and one that only says how it ends.
        capacity: what the node has, resource → quantity.
    """

    start_delay: timedelta = timedelta(0)
    init_duration: int = 0
    job_duration: int = 5
    capacity: Mapping[str, str] = {}


class Part(msgspec.Struct, frozen=True):
    """One container of a pod and what becomes of it."""

    container: Container
    kind: Kind
    run: Run
    orders: Orders


class Ending(msgspec.Struct, frozen=True):
    """What befalls the whole pod at a time."""

    at: datetime
    reason: Literal["DeadlineExceeded", "Evicted", "NodeLost"]
    message: str


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """The life of a pod.

    Attributes:
        starts_at: when its containers may start.
        begun: the same, in the whole seconds in which statuses speak.
        sandbox_at: when it has its sandbox and its network.
        init: its init containers and sidecars.
        regular: its containers.
        ephemeral: its ephemeral containers.
        ending: what befalls it, where it lives that long.
        grace: seconds that its containers get to end by themselves.
        problems: what of its wishes could not be understood.
    """

    pod: Pod
    uid: str
    placement: Placement
    accepted_at: datetime
    starts_at: datetime
    begun: datetime
    sandbox_at: datetime
    init: tuple[Part, ...]
    regular: tuple[Part, ...]
    ephemeral: tuple[Part, ...]
    ending: Ending | None
    grace: int
    qos: QosClass
    problems: tuple[str, ...]
    capacity: Mapping[str, str]

    @property
    def pod_name(self) -> str:
        """The pod as a kubelet names it in its messages."""
        return f"{self.pod.metadata.name}_{self.pod.metadata.namespace}({self.uid})"


def life(pod: Pod, *, placement: Placement, accepted_at: datetime, defaults: Defaults) -> Life:
    """Gather what the life of a pod follows from.

    Raises:
        InvalidRequest: a field that only the status needs is wrong.
    """
    uid = pod.metadata.uid or ""
    asked = steering(pod)
    delay = defaults.start_delay if asked.start_delay is None else asked.start_delay
    if asked.jitter:
        delay += asked.jitter * jitter(uid, "start")
    starts_at = accepted_at + delay
    accepted = accepted_at.replace(microsecond=0)
    begun = starts_at.replace(microsecond=0)
    spec = pod.spec
    grace = spec.grace // SECOND

    def parts(containers: list[Container] | None, kind: Kind) -> tuple[Part, ...]:
        return tuple(_part(c, kind, pod, asked, defaults=defaults, grace=grace) for c in containers or ())

    return Life(
        pod=pod,
        uid=uid,
        placement=placement,
        accepted_at=accepted_at,
        starts_at=starts_at,
        begun=begun,
        sandbox_at=accepted_at + min(delay, SECOND),
        init=parts(spec.init_containers, "init"),
        regular=parts(spec.containers, "regular"),
        ephemeral=parts(spec.ephemeral_containers, "ephemeral"),
        ending=_ending(pod, asked, accepted=accepted, begun=begun),
        grace=grace,
        qos=qos_class(spec),
        problems=asked.problems,
        capacity=defaults.capacity,
    )


def _part(container: Container, kind: Kind, pod: Pod, asked: Steering, *, defaults: Defaults, grace: int) -> Part:
    orders = asked.containers.get(container.name, NO_ORDERS)
    lasts = None
    if kind == "init":
        if container.restart_policy == "Always":
            kind = "sidecar"
        else:
            lasts = defaults.init_duration
    elif kind == "regular" and (orders.exit_code is not None or _is_of_job(pod)):
        lasts = defaults.job_duration
    extra = 0
    if asked.jitter:
        extra = int(asked.jitter / SECOND * jitter(pod.metadata.uid or "", "run", container.name))
    return Part(container, kind, run(container, orders, lasts=lasts, extra=extra, grace=grace), orders)


def _is_of_job(pod: Pod) -> bool:
    return any(owner.kind == "Job" for owner in pod.metadata.owner_references or ())


def _ending(pod: Pod, asked: Steering, *, accepted: datetime, begun: datetime) -> Ending | None:
    """Say what befalls the pod first. Source of the messages: the kubelet and the node lifecycle controller."""
    endings = []
    if pod.spec.active_deadline_seconds is not None:
        message = "Pod was active on the node longer than the specified deadline"
        at = accepted + max(1, pod.spec.active_deadline_seconds) * SECOND
        endings.append(Ending(at, "DeadlineExceeded", message))
    if asked.fail:
        message = (
            "The node was low on resource: memory. "
            if asked.fail == "Evicted"
            else "Node which was running the pod is unresponsive"
        )
        endings.append(Ending(begun + (asked.fail_after or FAIL_AFTER) * SECOND, asked.fail, message))
    return min(endings, key=lambda ending: ending.at, default=None)
