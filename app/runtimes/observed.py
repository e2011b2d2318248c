"""From what a runtime sees of a pod's containers to the statuses that a kubelet would report.

A runtime that does real work says what each container is in, moment by moment; everything else follows from it.

Source of the phases: `getPhase` in `pkg/kubelet/kubelet_pods.go`; of how a pod ends: `TerminatePod` in
`pkg/kubelet/status/status_manager.go`, both in Kubernetes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from app.core.timestamps import rfc3339
from app.kubernetes import restart
from app.kubernetes.conditions import build_conditions
from app.kubernetes.container_status import lost
from app.kubernetes.pod import Container
from app.kubernetes.resources import qos_class
from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Phase,
    PodIP,
    PodStatus,
    Transition,
)
from app.runtimes.base import AcceptedPod


class ContainerRun(msgspec.Struct, frozen=True):
    """One run of a container.

    Attributes:
        started: when it began.
        finished: when it ended; None while it goes on.
        code: its exit code.
        reason: a word for how it ended: Completed, Error, OOMKilled.
        message: more about it, with no value from inside the pod.
    """

    started: datetime
    finished: datetime | None = None
    code: int | None = None
    reason: str | None = None
    message: str | None = None


class ObservedContainer(msgspec.Struct, frozen=True):
    """What a container is in.

    Attributes:
        runs: how many there were, the present one counted.
        run: the last of them.
        previous: the one before.
        pause: for how many seconds it rests before it is run again.
    """

    runs: int = 0
    run: ContainerRun | None = None
    previous: ContainerRun | None = None
    pause: float | None = None


class Observation(msgspec.Struct, frozen=True):
    """What all containers are in from a time on.

    Attributes:
        at: that time.
        containers: by their names; one that is not among them has not run. None at all, and the pod is on its way.
        final: nothing will ever follow.
        reason: why the pod was ended; None where it ended by itself or was deleted.
    """

    at: datetime
    containers: Mapping[str, ObservedContainer] = {}
    final: bool = False
    reason: str | None = None


_MESSAGES = {"DeadlineExceeded": "Pod was active on the node longer than the specified deadline"}
_TICK = timedelta(microseconds=1)
_NEVER = ContainerState()
_NOTHING = ObservedContainer()


def observed_transitions(
    pod: AcceptedPod, moments: Sequence[Observation], *, current: Transition, scheme: str
) -> Iterator[Transition]:
    """Give the statuses that followed the one that is stored.

    Args:
        pod: the pod.
        moments: in their order; the last of them counts, however old it is.
        current: the last status that is stored.
        scheme: what the IDs of containers begin with, before `://`.
    """
    for moment in moments:
        at = moment.at
        if at <= current.effective_at:
            if moment is not moments[-1]:
                continue
            at = current.effective_at + _TICK  # it came before something else that was stored first
        status = build_observed_status(pod, moment, at=at, previous=current.status, scheme=scheme)
        if status != current.status:
            current = Transition(at, status)
            yield current


def build_observed_status(
    pod: AcceptedPod, moment: Observation, *, at: datetime, scheme: str, previous: PodStatus | None = None
) -> PodStatus:
    """Say what a pod's status is.

    Args:
        pod: the pod.
        moment: what its containers are in.
        at: from when on this holds.
        scheme: what the IDs of containers begin with, before `://`.
        previous: the status that holds until then; a condition that goes on keeps its time.
    """
    spec = pod.manifest.pod.spec
    records = moment.containers
    is_over = moment.final and any(records[c.name].runs for c in spec.containers if c.name in records)

    def describe(container: Container, *, is_init: bool = False) -> ContainerStatus:
        record = records.get(container.name, _NOTHING)
        state, last_state = _states(pod, container.name, record, scheme=scheme)
        is_completed = state.terminated is not None and state.terminated.exit_code == 0
        status = ContainerStatus(
            name=container.name,
            state=state,
            last_state=last_state,
            ready=state.running is not None or (is_init and is_completed),
            restart_count=max(record.runs - 1, 0),
            image=container.image or "",
            image_id="",  # none is pulled
            container_id=_container_id(pod, container.name, record.runs, scheme) if record.runs else None,
            started=state.running is not None,
        )
        return lost(status) if is_over and not is_init and state.waiting else status

    return _status(
        pod,
        phase=_phase(pod, moment),
        reason=moment.reason,
        sandbox=bool(records) and not moment.final,
        init_containers=tuple(describe(c, is_init=True) for c in spec.init_containers or ()),
        containers=tuple(describe(c) for c in spec.containers),
        at=at,
        previous=previous,
    )


def build_problem_status(pod: AcceptedPod, problem: str, *, at: datetime, previous: PodStatus) -> PodStatus:
    """Say that the containers of a pod that has not begun cannot be started, and why."""
    waiting = ContainerState(waiting=ContainerStateWaiting(reason="CreateContainerError", message=problem))
    containers = tuple(msgspec.structs.replace(status, state=waiting) for status in previous.container_statuses)
    return _status(
        pod,
        phase="Pending",
        reason=None,
        sandbox=False,
        init_containers=previous.init_container_statuses,
        containers=containers,
        at=at,
        previous=previous,
    )


def build_lost_status(pod: AcceptedPod, *, at: datetime, previous: PodStatus) -> PodStatus:
    """Say that a pod is over, of which nothing is left to tell how: what ran ended somehow, and has failed."""
    if previous.is_terminal:
        return previous

    def end(status: ContainerStatus) -> ContainerStatus:
        return lost(status) if _has_run(status) and not status.state.terminated else status

    return _status(
        pod,
        phase="Failed",
        reason=None,
        sandbox=False,
        init_containers=tuple(end(status) for status in previous.init_container_statuses),
        containers=tuple(end(status) for status in previous.container_statuses),
        at=at,
        previous=previous,
    )


def has_started(status: PodStatus) -> bool:
    """Say whether any container of a pod has ever run."""
    return any(map(_has_run, status.all_containers))


def _has_run(status: ContainerStatus) -> bool:
    return status.state.waiting is None or status.last_state.terminated is not None


def _states(
    pod: AcceptedPod, name: str, record: ObservedContainer, *, scheme: str
) -> tuple[ContainerState, ContainerState]:
    """Give the state of a container, and that of the run before."""
    run = record.run
    if run is None:
        reason = "PodInitializing" if pod.manifest.pod.spec.init_containers else "ContainerCreating"
        return ContainerState(waiting=ContainerStateWaiting(reason=reason)), _NEVER
    before = record.previous
    last = _terminated(before, _container_id(pod, name, record.runs - 1, scheme)) if before else _NEVER
    if run.finished is None:
        return ContainerState(running=ContainerStateRunning(started_at=rfc3339(run.started))), last
    terminated = _terminated(run, _container_id(pod, name, record.runs, scheme))
    if record.pause is None:
        return terminated, last
    metadata = pod.manifest.pod.metadata
    named = f"{metadata.name}_{metadata.namespace}({metadata.uid})"
    message = restart.backoff_message(round(record.pause), container=name, pod=named)
    return ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff", message=message)), terminated


def _terminated(run: ContainerRun, container_id: str) -> ContainerState:
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=run.code or 0,
            reason=run.reason or ("Error" if run.code else "Completed"),
            message=run.message,
            started_at=rfc3339(run.started),
            finished_at=rfc3339(run.finished or run.started),
            container_id=container_id,
        )
    )


def _phase(pod: AcceptedPod, moment: Observation) -> Phase:
    records = [moment.containers.get(c.name, _NOTHING) for c in pod.manifest.pod.spec.containers]
    if moment.final:
        succeeded = all(record.run and record.run.code == 0 for record in records)
        return "Succeeded" if succeeded and not moment.reason else "Failed"
    return "Running" if all(record.runs for record in records) else "Pending"


def _status(
    pod: AcceptedPod,
    *,
    phase: Phase,
    reason: str | None,
    sandbox: bool,
    init_containers: tuple[ContainerStatus, ...],
    containers: tuple[ContainerStatus, ...],
    at: datetime,
    previous: PodStatus | None,
) -> PodStatus:
    spec = pod.manifest.pod.spec
    generation = pod.manifest.pod.metadata.generation
    by_name = {status.name: status for status in containers}
    return PodStatus(
        observed_generation=generation,
        phase=phase,
        conditions=build_conditions(
            spec,
            phase=phase,
            sandbox=sandbox,
            init=list(zip(spec.init_containers or (), init_containers, strict=True)),
            regular=[(c, by_name[c.name]) for c in spec.containers],
            at=rfc3339(at),
            previous=previous.conditions if previous else (),
            observed_generation=generation,
        ),
        message=_MESSAGES.get(reason or ""),
        reason=reason,
        host_ip=pod.placement.host_ips[0],
        host_ips=tuple(PodIP(ip=ip) for ip in pod.placement.host_ips),
        pod_ip=pod.placement.pod_ips[0],
        pod_ips=tuple(PodIP(ip=ip) for ip in pod.placement.pod_ips),
        start_time=previous.start_time if previous else rfc3339(pod.accepted_at),
        init_container_statuses=init_containers,
        # A kubelet lists init containers in the order of the spec, and the others by name.
        container_statuses=tuple(sorted(containers, key=lambda status: status.name)),
        qos_class=qos_class(spec),
    )


def _container_id(pod: AcceptedPod, name: str, run: int, scheme: str) -> str:
    parts = (pod.manifest.pod.metadata.uid or "", pod.accepted_at.isoformat(), name, str(run))
    return f"{scheme}://{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}"
