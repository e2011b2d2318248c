"""The inputs of a simulation: the pod, its placement, the time of its acceptance, its annotations, the defaults.

A :class:`SimulatedPod` is built for each call and is immutable. The state of the simulation is the pod's status,
and nothing else.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from app.kubernetes.pod import Container, ObjectMeta, Pod, PodSpec
from app.kubernetes.pod_status import DEADLINE_EXCEEDED_MESSAGE
from app.kubernetes.resources import QosClass, qos_class
from app.kubernetes.status import ResourceStatus
from app.runtimes.base import Placement
from app.runtimes.synthetic import resize
from app.runtimes.synthetic.annotations import (
    NO_OVERRIDES,
    ContainerOverrides,
    PodOverrides,
    jitter,
    parse_annotations,
)
from app.runtimes.synthetic.probes import RunPlan, plan_run, run_time
from app.runtimes.synthetic.usage.container import killed_at
from app.runtimes.synthetic.usage.defaults import UsageDefaults

SECOND = timedelta(seconds=1)
Kind = Literal["init", "sidecar", "regular", "ephemeral"]


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """The values for pods without annotations.

    Attributes:
        start_delay: the time from a pod's acceptance to the start of its containers.
        init_duration: the run time of an init container, in seconds.
        job_duration: the run time of a container of a Job, or of one with only an exit code, in seconds.
        capacity: the capacity of the node, resource → quantity.
        usage: the usage of a container.
    """

    start_delay: timedelta = timedelta(0)
    init_duration: int = 0
    job_duration: int = 5
    capacity: Mapping[str, str] = {}
    usage: UsageDefaults = UsageDefaults()


class SimulatedContainer(msgspec.Struct, frozen=True):
    """One container of a pod.

    Attributes:
        plan: the plan of each of its runs.
        overrides: the overrides from the pod's annotations.
        resources: the requests and limits of its spec.
    """

    spec: Container
    kind: Kind
    plan: RunPlan
    overrides: ContainerOverrides
    resources: ResourceStatus

    @property
    def pre_stop(self) -> int:
        """The seconds that its preStop hook takes."""
        lifecycle = self.spec.lifecycle
        return lifecycle.pre_stop.seconds if lifecycle and lifecycle.pre_stop else 0


class PodFailure(msgspec.Struct, frozen=True):
    """A failure of the whole pod at a time."""

    at: datetime
    reason: Literal["DeadlineExceeded", "Evicted", "NodeLost"]
    message: str


class SimulatedPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod whose statuses are computed.

    Attributes:
        definition: the Pod object.
        starts_at: the time from which its containers may start.
        start_second: `starts_at` in whole seconds, the precision of the times in a status.
        sandbox_at: the time at which it has its sandbox and its network.
        init: its init containers and sidecars.
        regular: its containers.
        ephemeral: its ephemeral containers.
        failure: the failure scheduled for the whole pod; None if there is none.
        grace: the grace period of its containers, in seconds.
        problems: the annotations that are invalid, each with the reason.
    """

    definition: Pod
    uid: str
    placement: Placement
    accepted_at: datetime
    starts_at: datetime
    start_second: datetime
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
    def metadata(self) -> ObjectMeta:
        """The pod's metadata."""
        return self.definition.metadata

    @property
    def spec(self) -> PodSpec:
        """The pod's spec."""
        return self.definition.spec

    def container(self, name: str) -> SimulatedContainer:
        """Return a container of any kind by its name."""
        return next(found for found in (*self.init, *self.regular, *self.ephemeral) if found.spec.name == name)


def simulate(
    pod: Pod,
    *,
    placement: Placement,
    accepted_at: datetime,
    defaults: Defaults,
    starts_from: datetime | None = None,
) -> SimulatedPod:
    """Return the simulation of a pod.

    Args:
        starts_from: the time from which its start delay counts; None for `accepted_at`.

    Raises:
        InvalidRequest: a resource quantity is invalid.
    """
    uid, qos = pod.metadata.uid or "", qos_class(pod.spec)
    overrides = parse_annotations(pod)
    delay = defaults.start_delay if overrides.start_delay is None else overrides.start_delay
    if overrides.jitter:
        delay += overrides.jitter * jitter(uid, "start")
    delay *= overrides.start_delay_factor
    starts_from = starts_from or accepted_at
    starts_at = starts_from + delay
    accepted = accepted_at.replace(microsecond=0)
    start_second = starts_at.replace(microsecond=0)
    spec = pod.spec
    grace = spec.grace // SECOND

    def simulated(containers: list[Container] | None, kind: Kind) -> tuple[SimulatedContainer, ...]:
        return tuple(
            _simulated_container(c, kind, pod, overrides, defaults=defaults, grace=grace) for c in containers or ()
        )

    return SimulatedPod(
        definition=pod,
        uid=uid,
        placement=placement,
        accepted_at=accepted_at,
        starts_at=starts_at,
        start_second=start_second,
        sandbox_at=starts_from + min(delay, SECOND),
        init=simulated(spec.init_containers, "init"),
        regular=simulated(spec.containers, "regular"),
        ephemeral=simulated(spec.ephemeral_containers, "ephemeral"),
        failure=_first_failure(pod, overrides, accepted=accepted, start=start_second),
        grace=grace,
        qos=qos,
        problems=overrides.problems,
        capacity=defaults.capacity,
    )


def _simulated_container(
    container: Container, kind: Kind, pod: Pod, pod_overrides: PodOverrides, *, defaults: Defaults, grace: int
) -> SimulatedContainer:
    overrides = pod_overrides.containers.get(container.name, NO_OVERRIDES)
    duration = None
    if kind == "init":
        if container.restart_policy == "Always":
            kind = "sidecar"
        else:
            duration = defaults.init_duration
    elif kind == "regular" and (overrides.exit_code is not None or _is_of_job(pod)):
        duration = defaults.job_duration
    extra = 0
    if pod_overrides.jitter:
        extra = int(pod_overrides.jitter / SECOND * jitter(pod.metadata.uid or "", "run", container.name))
    plan = plan_run(
        container,
        overrides,
        duration=duration,
        extra=extra,
        grace=grace,
        killed_at=killed_at(container, overrides, pod, defaults=defaults.usage),
    )
    return SimulatedContainer(container, kind, plan, overrides, resize.resources(container))


def _is_of_job(pod: Pod) -> bool:
    return any(owner.kind == "Job" for owner in pod.metadata.owner_references or ())


def _first_failure(pod: Pod, overrides: PodOverrides, *, accepted: datetime, start: datetime) -> PodFailure | None:
    """Return the earliest scheduled failure of a pod, None if there is none.

    Source of the messages: the kubelet and the node lifecycle controller.
    """
    failures = []
    if pod.spec.active_deadline_seconds is not None:
        at = accepted + max(1, pod.spec.active_deadline_seconds) * SECOND
        failures.append(PodFailure(at, "DeadlineExceeded", DEADLINE_EXCEEDED_MESSAGE))
    if overrides.fail:
        message = (
            "The node was low on resource: memory. "
            if overrides.fail == "Evicted"
            else "Node which was running the pod is unresponsive"
        )
        at = start + run_time(overrides.fail_after) * SECOND
        failures.append(PodFailure(at, overrides.fail, message))
    return min(failures, key=lambda failure: failure.at, default=None)
