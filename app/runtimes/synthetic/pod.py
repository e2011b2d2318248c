"""All that the life of a pod follows from: the pod, where and when it was accepted, what was asked of it.

It is made anew for every question. What has happened so far is in the pod's status, and nowhere else.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from app.kubernetes.pod import Container, ObjectMeta, Pod, PodSpec
from app.kubernetes.resources import QosClass, qos_class
from app.runtimes.base import Placement
from app.runtimes.synthetic.annotations import (
    NO_OVERRIDES,
    ContainerOverrides,
    PodOverrides,
    jitter,
    parse_annotations,
)
from app.runtimes.synthetic.probes import FAIL_AFTER, RunPlan, plan_run

SECOND = timedelta(seconds=1)
Kind = Literal["init", "sidecar", "regular", "ephemeral"]


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


class SimulatedContainer(msgspec.Struct, frozen=True):
    """One container of a pod and what becomes of it."""

    spec: Container
    kind: Kind
    plan: RunPlan
    overrides: ContainerOverrides


class PodFailure(msgspec.Struct, frozen=True):
    """What befalls the whole pod at a time."""

    at: datetime
    reason: Literal["DeadlineExceeded", "Evicted", "NodeLost"]
    message: str


class SimulatedPod(msgspec.Struct, frozen=True, kw_only=True):
    """The life of a pod.

    Attributes:
        starts_at: when its containers may start.
        begun: the same, in the whole seconds in which statuses speak.
        sandbox_at: when it has its sandbox and its network.
        init: its init containers and sidecars.
        regular: its containers.
        ephemeral: its ephemeral containers.
        failure: what befalls it, where it lives that long.
        grace: seconds that its containers get to end by themselves.
        problems: what of its wishes could not be understood.
    """

    metadata: ObjectMeta
    spec: PodSpec
    uid: str
    placement: Placement
    accepted_at: datetime
    starts_at: datetime
    begun: datetime
    sandbox_at: datetime
    init: tuple[SimulatedContainer, ...]
    regular: tuple[SimulatedContainer, ...]
    ephemeral: tuple[SimulatedContainer, ...]
    failure: PodFailure | None
    grace: int
    qos: QosClass
    problems: tuple[str, ...]
    capacity: Mapping[str, str]

    @property
    def pod_name(self) -> str:
        """The pod as a kubelet names it in its messages."""
        return f"{self.metadata.name}_{self.metadata.namespace}({self.uid})"


def simulate(pod: Pod, *, placement: Placement, accepted_at: datetime, defaults: Defaults) -> SimulatedPod:
    """Gather what the life of a pod follows from.

    Raises:
        InvalidRequest: a field that only the status needs is wrong.
    """
    uid = pod.metadata.uid or ""
    asked = parse_annotations(pod)
    delay = defaults.start_delay if asked.start_delay is None else asked.start_delay
    if asked.jitter:
        delay += asked.jitter * jitter(uid, "start")
    starts_at = accepted_at + delay
    accepted = accepted_at.replace(microsecond=0)
    begun = starts_at.replace(microsecond=0)
    spec = pod.spec
    grace = spec.grace // SECOND

    def simulated(containers: list[Container] | None, kind: Kind) -> tuple[SimulatedContainer, ...]:
        return tuple(
            _simulated_container(c, kind, pod, asked, defaults=defaults, grace=grace) for c in containers or ()
        )

    return SimulatedPod(
        metadata=pod.metadata,
        spec=spec,
        uid=uid,
        placement=placement,
        accepted_at=accepted_at,
        starts_at=starts_at,
        begun=begun,
        sandbox_at=accepted_at + min(delay, SECOND),
        init=simulated(spec.init_containers, "init"),
        regular=simulated(spec.containers, "regular"),
        ephemeral=simulated(spec.ephemeral_containers, "ephemeral"),
        failure=_first_failure(pod, asked, accepted=accepted, begun=begun),
        grace=grace,
        qos=qos_class(spec),
        problems=asked.problems,
        capacity=defaults.capacity,
    )


def _simulated_container(
    container: Container, kind: Kind, pod: Pod, asked: PodOverrides, *, defaults: Defaults, grace: int
) -> SimulatedContainer:
    overrides = asked.containers.get(container.name, NO_OVERRIDES)
    lasts = None
    if kind == "init":
        if container.restart_policy == "Always":
            kind = "sidecar"
        else:
            lasts = defaults.init_duration
    elif kind == "regular" and (overrides.exit_code is not None or _is_of_job(pod)):
        lasts = defaults.job_duration
    extra = 0
    if asked.jitter:
        extra = int(asked.jitter / SECOND * jitter(pod.metadata.uid or "", "run", container.name))
    return SimulatedContainer(
        container, kind, plan_run(container, overrides, lasts=lasts, extra=extra, grace=grace), overrides
    )


def _is_of_job(pod: Pod) -> bool:
    return any(owner.kind == "Job" for owner in pod.metadata.owner_references or ())


def _first_failure(pod: Pod, asked: PodOverrides, *, accepted: datetime, begun: datetime) -> PodFailure | None:
    """Say what befalls the pod first. Source of the messages: the kubelet and the node lifecycle controller."""
    failures = []
    if pod.spec.active_deadline_seconds is not None:
        message = "Pod was active on the node longer than the specified deadline"
        at = accepted + max(1, pod.spec.active_deadline_seconds) * SECOND
        failures.append(PodFailure(at, "DeadlineExceeded", message))
    if asked.fail:
        message = (
            "The node was low on resource: memory. "
            if asked.fail == "Evicted"
            else "Node which was running the pod is unresponsive"
        )
        failures.append(PodFailure(begun + (asked.fail_after or FAIL_AFTER) * SECOND, asked.fail, message))
    return min(failures, key=lambda failure: failure.at, default=None)
