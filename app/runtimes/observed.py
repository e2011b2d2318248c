"""Derive the statuses that a kubelet would report from observations of a pod's containers.

A runtime that does real work records, for each change, the state of every container (an :class:`Observation`).
Phase, conditions, restart counts and container IDs follow from it and are computed here.

Source of the phases: `getPhase` in `pkg/kubelet/kubelet_pods.go`; of the final status of a pod: `TerminatePod` in
`pkg/kubelet/status/status_manager.go`, both in Kubernetes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from app.core.timestamps import rfc3339
from app.kubernetes import restart
from app.kubernetes.container_status import (
    ContainerStatuses,
    initial_waiting_reason,
    lost,
    terminated_state,
    waiting,
    with_lost_containers,
)
from app.kubernetes.pod import Container
from app.kubernetes.pod_status import DEADLINE_EXCEEDED_MESSAGE, StatusBase, assemble_pod_status
from app.kubernetes.resources import qos_class
from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateWaiting,
    ContainerStatus,
    Phase,
    PodStatus,
    Transition,
)
from app.runtimes.base import AcceptedPod


class ContainerRun(msgspec.Struct, frozen=True):
    """One run of a container.

    Attributes:
        started: the time at which it started.
        finished: the time at which it ended; None while it is running.
        code: its exit code; None while it is running.
        reason: the reason of its termination, such as Completed, Error or OOMKilled.
        message: details of the termination without any value from inside the pod, or its termination message.
    """

    started: datetime
    finished: datetime | None = None
    code: int | None = None
    reason: str | None = None
    message: str | None = None


class ObservedContainer(msgspec.Struct, frozen=True):
    """The state of one container.

    Attributes:
        runs: the number of runs so far, including the current one.
        run: the last run; None before the first.
        previous: the run before the last.
        pause: the seconds of back-off before the next restart; None where no restart is pending.
        waiting: why it is reported as waiting: it cannot be started, or its postStart hook runs.
    """

    runs: int = 0
    run: ContainerRun | None = None
    previous: ContainerRun | None = None
    pause: float | None = None
    waiting: ContainerStateWaiting | None = None


class Observation(msgspec.Struct, frozen=True):
    """The state of all containers of a pod from a time on.

    Attributes:
        at: that time.
        containers: name → state; a container that is missing has not run yet. Empty before the pod has a sandbox.
        final: whether no further observation will follow.
        reason: the reason for which the pod was stopped; None if it ended by itself or was deleted.
        message: details of the reason, or of the pod; None for those that the reason has by itself.
    """

    at: datetime
    containers: Mapping[str, ObservedContainer] = {}
    final: bool = False
    reason: str | None = None
    message: str | None = None


_MESSAGES = {"DeadlineExceeded": DEADLINE_EXCEEDED_MESSAGE}
_NO_STATE = ContainerState()
_NOT_RUN = ObservedContainer()
_Kind = Literal["init", "regular", "ephemeral"]


def observed_transitions(
    pod: AcceptedPod, observations: Sequence[Observation], *, current: Transition, scheme: str
) -> Iterator[Transition]:
    """Yield the statuses that follow the last stored one.

    Observations that are not later than `current` are already stored and are skipped, except for the last one: it
    can be older than `current` if another status (of an update, say) was stored first, and it must not be lost.

    Args:
        pod: the pod.
        observations: the observations, in the order of their times.
        current: the last status that is stored.
        scheme: the prefix of container IDs, before `://`.
    """
    for observation in observations:
        if observation.at <= current.effective_at and observation is not observations[-1]:
            continue
        at = current.next_timestamp(observation.at)
        status = build_observed_status(pod, observation, at=at, previous=current.status, scheme=scheme)
        if status != current.status:
            current = Transition(at, status)
            yield current


def build_observed_status(
    pod: AcceptedPod, observation: Observation, *, at: datetime, scheme: str, previous: PodStatus | None = None
) -> PodStatus:
    """Return the status of a pod with the observed containers.

    Args:
        pod: the pod.
        observation: the state of its containers.
        at: the time from which the status holds.
        scheme: the prefix of container IDs, before `://`.
        previous: the status until then; a condition that does not change keeps its time.
    """
    spec = pod.manifest.pod.spec
    observed = observation.containers
    has_ended = observation.final and any(observed[c.name].runs for c in spec.containers if c.name in observed)

    def container_status(container: Container, kind: _Kind = "regular") -> ContainerStatus:
        state = observed.get(container.name, _NOT_RUN)
        status = _container_status(pod, container, state, scheme=scheme, kind=kind)
        return lost(status) if has_ended and kind == "regular" and status.state.waiting else status

    return _pod_status(
        pod,
        phase=_phase(pod, observation),
        reason=observation.reason,
        message=observation.message,
        sandbox=bool(observed) and not observation.final,
        containers=ContainerStatuses(
            [container_status(c, "init") for c in spec.init_containers or ()],
            [container_status(c) for c in spec.containers],
            [container_status(c, "ephemeral") for c in spec.ephemeral_containers or ()],
        ),
        at=at,
        previous=previous,
    )


def build_problem_status(pod: AcceptedPod, problem: str, *, at: datetime, previous: PodStatus) -> PodStatus:
    """Return the status of a pod that has not started because its containers cannot be created.

    Args:
        pod: the pod.
        problem: the cause; the message of every container.
        at: the time from which the status holds.
        previous: the status until then.
    """
    state = ContainerState(waiting=ContainerStateWaiting(reason="CreateContainerError", message=problem))
    return _pod_status(
        pod,
        phase="Pending",
        containers=ContainerStatuses(
            previous.init_container_statuses,
            [msgspec.structs.replace(status, state=state) for status in _regular(pod, previous)],
            _ephemeral(pod, previous),
        ),
        at=at,
        previous=previous,
    )


def build_lost_status(pod: AcceptedPod, *, at: datetime, previous: PodStatus) -> PodStatus:
    """Return the status of a pod of which no trace is left: every container that has not ended has failed.

    A pod with a terminal status keeps it.
    """
    if previous.is_terminal:
        return previous

    def ended(status: ContainerStatus) -> ContainerStatus:
        return lost(status) if _has_run(status) and not status.state.terminated else status

    statuses = ContainerStatuses(
        [ended(status) for status in previous.init_container_statuses],
        [ended(status) for status in _regular(pod, previous)],
        [ended(status) for status in _ephemeral(pod, previous)],
    )
    return _pod_status(
        pod,
        phase="Failed",
        containers=with_lost_containers(pod.manifest.pod.spec, statuses),
        at=at,
        previous=previous,
    )


def with_new_containers(pod: AcceptedPod, status: PodStatus) -> PodStatus:
    """Return the status of an updated pod, in which ephemeral containers that were added wait for their start."""
    ephemeral = tuple(sorted(_ephemeral(pod, status), key=lambda container: container.name))
    return msgspec.structs.replace(status, ephemeral_container_statuses=ephemeral)


def has_started(status: PodStatus) -> bool:
    """Return whether any container of a pod has ever run."""
    return any(map(_has_run, status.all_containers))


def _has_run(status: ContainerStatus) -> bool:
    return status.state.waiting is None or bool(status.last_state.terminated or status.container_id)


def _regular(pod: AcceptedPod, status: PodStatus) -> list[ContainerStatus]:
    """Return the statuses of the regular containers, which a status lists by name, in the order of the spec."""
    by_name = {container.name: container for container in status.container_statuses}
    return [by_name[container.name] for container in pod.manifest.pod.spec.containers]


def _ephemeral(pod: AcceptedPod, status: PodStatus) -> list[ContainerStatus]:
    """Return the statuses of the ephemeral containers in the order of the spec; those that were added wait."""
    by_name = {container.name: container for container in status.ephemeral_container_statuses}
    spec = pod.manifest.pod.spec
    reason = initial_waiting_reason(spec)
    return [
        by_name.get(container.name) or waiting(container, reason=reason, started=None)
        for container in spec.ephemeral_containers or ()
    ]


def _container_status(
    pod: AcceptedPod, container: Container, observed: ObservedContainer, *, scheme: str, kind: _Kind
) -> ContainerStatus:
    """Return the status of a container.

    A kubelet's prober sets `ready` and `started`, and knows no ephemeral containers.
    """
    state, last_state = _states(pod, container.name, observed, scheme=scheme)
    if (
        kind == "init" and container.restart_policy != "Always"
    ):  # ready when it has succeeded; a sidecar while it runs
        is_ready = state.terminated is not None and state.terminated.exit_code == 0
    else:
        is_ready = state.running is not None and kind != "ephemeral"
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=last_state,
        ready=is_ready,
        restart_count=max(observed.runs - 1, 0),
        image=container.image or "",
        image_id="",  # no image is pulled
        container_id=_container_id(pod, container.name, observed.runs, scheme) if observed.runs else None,
        started=None if kind == "ephemeral" else state.running is not None,
    )


def _states(
    pod: AcceptedPod, name: str, observed: ObservedContainer, *, scheme: str
) -> tuple[ContainerState, ContainerState]:
    """Return the `state` and the `lastState` of a container."""
    run, previous = observed.run, observed.previous
    if run is None:
        reason = initial_waiting_reason(pod.manifest.pod.spec)
        return ContainerState(waiting=observed.waiting or ContainerStateWaiting(reason=reason)), _NO_STATE
    last = _NO_STATE
    if previous:
        last = _ended(previous, _container_id(pod, name, observed.runs - 1, scheme))
    if run.finished is None and observed.waiting:
        return ContainerState(waiting=observed.waiting), last
    if run.finished is None:
        return ContainerState(running=ContainerStateRunning(started_at=rfc3339(run.started))), last
    ended = _ended(run, _container_id(pod, name, observed.runs, scheme))
    if observed.waiting:
        return ContainerState(waiting=observed.waiting), ended
    if observed.pause is None:
        return ended, last
    full_name = pod.manifest.pod.metadata.full_name
    message = restart.backoff_message(round(observed.pause), container=name, pod=full_name)
    return ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff", message=message)), ended


def _ended(run: ContainerRun, container_id: str) -> ContainerState:
    return terminated_state(
        exit_code=run.code or 0,
        reason=run.reason,
        message=run.message,
        started_at=rfc3339(run.started),
        finished_at=rfc3339(run.finished or run.started),
        container_id=container_id,
    )


def _phase(pod: AcceptedPod, observation: Observation) -> Phase:
    observed = [observation.containers.get(c.name, _NOT_RUN) for c in pod.manifest.pod.spec.containers]
    if observation.final:
        succeeded = all(container.run and container.run.code == 0 for container in observed)
        return "Succeeded" if succeeded and not observation.reason else "Failed"
    return "Running" if all(map(_has_been_running, observed)) else "Pending"


def _has_been_running(container: ObservedContainer) -> bool:
    """Return whether a container runs or ran; in its first run, one whose postStart hook runs does not count."""
    is_in_hook = container.waiting is not None and container.run is not None and container.run.finished is None
    return container.runs > int(is_in_hook)


def _pod_status(
    pod: AcceptedPod,
    *,
    phase: Phase,
    reason: str | None = None,
    message: str | None = None,
    sandbox: bool = False,
    containers: ContainerStatuses,
    at: datetime,
    previous: PodStatus | None,
) -> PodStatus:
    definition = pod.manifest.pod
    return assemble_pod_status(
        StatusBase(definition, pod.placement.host_ips, pod.accepted_at, qos_class(definition.spec)),
        containers,
        phase=phase,
        sandbox=sandbox,
        pod_ips=pod.placement.pod_ips,
        at=at,
        previous=previous,
        why=(reason, message or _MESSAGES.get(reason or "")),
    )


def _container_id(pod: AcceptedPod, name: str, run: int, scheme: str) -> str:
    parts = (pod.manifest.pod.metadata.uid or "", pod.accepted_at.isoformat(), name, str(run))
    return f"{scheme}://{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}"
