"""The course of a pod's life: every status it will have, each with the time from which it holds.

It is computed at once, when the pod arrives or changes, and never again: whoever asks later, through any
worker and after any restart, reads the last status whose time has come.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from app.lifecycle import containers
from app.lifecycle.conditions import conditions
from app.lifecycle.manifest import Container, Pod
from app.lifecycle.qos import qos_class
from app.lifecycle.status import ContainerStatus, PodIP, PodStatus, Transition
from app.lifecycle.times import rfc3339


class Course(NamedTuple):
    """What becomes of a pod.

    Attributes:
        transitions: statuses, each with the time from which it holds; the times increase strictly.
        continues_at: from when on the runtime is to be asked for more; None where this is all.
        problems: what of the pod's wishes could not be understood, in words for its status and the audit.
    """

    transitions: list[Transition]
    continues_at: datetime | None = None
    problems: tuple[str, ...] = ()


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


def course(
    pod: Pod,
    *,
    placement: Placement,
    start_delay: timedelta,
    accepted_at: datetime,
    now: datetime,
    current: PodStatus | None = None,
) -> list[Transition]:
    """Compute what happens to a pod from `now` on.

    Args:
        pod: the pod, with its UID.
        placement: where it runs.
        start_delay: from its arrival to its containers' start.
        accepted_at: when it arrived here.
        now: when the course begins; `accepted_at` for a new pod.
        current: the status that held until now, None for a new pod. What goes on unchanged keeps its times.

    Returns:
        At least one transition; the times increase strictly and the first is `now`.

    Raises:
        InvalidRequest: a field that only the status needs is wrong.
    """
    transitions: list[Transition] = []
    starts_at = accepted_at + start_delay
    if now < starts_at and not (current and current.phase == "Running"):
        current = _pending(pod, placement, accepted_at=accepted_at, at=now, previous=current)
        transitions.append(Transition(now, current))
        now = starts_at
    status = _running(pod, placement, accepted_at=accepted_at, at=now, previous=current)
    transitions.append(Transition(now, status))
    return transitions


def _pending(
    pod: Pod, placement: Placement, *, accepted_at: datetime, at: datetime, previous: PodStatus | None
) -> PodStatus:
    """Accepted, and nothing runs yet: the sandbox and the images are on their way."""
    init_containers = pod.spec.init_containers or []
    reason = "PodInitializing" if init_containers else "ContainerCreating"
    return _status(
        pod,
        placement,
        accepted_at=accepted_at,
        at=at,
        previous=previous,
        started=False,
        init_containers=tuple(containers.waiting(c, reason=reason) for c in init_containers),
        app_containers=tuple(containers.waiting(c, reason=reason) for c in pod.spec.containers),
    )


def _running(
    pod: Pod, placement: Placement, *, accepted_at: datetime, at: datetime, previous: PodStatus | None
) -> PodStatus:
    """Every container runs and is ready; the init containers have done their work."""
    uid = pod.metadata.uid or ""

    def describe(container: Container, *, init: bool = False) -> ContainerStatus:
        make = containers.completed if init and container.restart_policy != "Always" else containers.running
        before = previous.container(container.name) if previous else None
        return make(container, pod_uid=uid, at=rfc3339(at), previous=before)

    return _status(
        pod,
        placement,
        accepted_at=accepted_at,
        at=at,
        previous=previous,
        started=True,
        init_containers=tuple(describe(c, init=True) for c in pod.spec.init_containers or ()),
        app_containers=tuple(describe(c) for c in pod.spec.containers),
    )


def _status(
    pod: Pod,
    placement: Placement,
    *,
    accepted_at: datetime,
    at: datetime,
    previous: PodStatus | None,
    started: bool,
    init_containers: tuple[ContainerStatus, ...],
    app_containers: tuple[ContainerStatus, ...],
) -> PodStatus:
    # The host's network is there before the sandbox is.
    pod_ips = tuple(PodIP(ip=ip) for ip in placement.pod_ips) if started or placement.pod_ip is None else ()
    return PodStatus(
        observed_generation=pod.metadata.generation,
        phase="Running" if started else "Pending",
        conditions=conditions(
            sandbox=started,
            init_containers=init_containers,
            containers=(*_sidecars(pod, init_containers), *app_containers),
            at=rfc3339(at),
            previous=previous.conditions if previous else (),
            observed_generation=pod.metadata.generation,
        ),
        host_ip=placement.host_ips[0],
        host_ips=tuple(PodIP(ip=ip) for ip in placement.host_ips),
        pod_ip=pod_ips[0].ip if pod_ips else None,
        pod_ips=pod_ips,
        start_time=previous.start_time if previous else rfc3339(accepted_at),
        init_container_statuses=init_containers,
        # A kubelet lists init containers in the order of the spec, and the others by name.
        container_statuses=tuple(sorted(app_containers, key=lambda status: status.name)),
        qos_class=qos_class(pod.spec),
    )


def _sidecars(pod: Pod, init_containers: tuple[ContainerStatus, ...]) -> list[ContainerStatus]:
    """Pick the init containers that run beside the others, and count as these for readiness."""
    specs = pod.spec.init_containers or ()
    return [status for spec, status in zip(specs, init_containers, strict=True) if spec.restart_policy == "Always"]
