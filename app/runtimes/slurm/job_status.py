"""The status of a pod from its job, where its shim does not tell: before it starts, and if it is killed."""

from datetime import UTC, datetime

import msgspec

from app.core.timestamps import rfc3339
from app.kubernetes.conditions import ReasonAndMessage
from app.kubernetes.container_status import KILLED, LOST
from app.kubernetes.status import ContainerState, ContainerStatus, PodCondition, PodStatus
from app.runtimes.observed import ContainerRun, Observation, ObservedContainer
from app.runtimes.process.shim.record import StopRequest
from app.runtimes.slurm.job_queue import Job

_MESSAGE_LIMIT = 1024


def queued_message(job: Job, *, place: int | None, of: int) -> str:
    """Return why a job waits, its place among the node's jobs, and when it is expected to start.

    >>> queued_message(Job(7, "PENDING", 1, None, None, "", "Resources"), place=2, of=5)
    'queued in Slurm: Resources, place 2 of 5'
    """
    reason = "not considered yet" if job.reason in ("", "None") else job.reason
    parts = [f"queued in Slurm: {reason}"]
    if place is not None and of > 1:
        parts.append(f"place {place} of {of}")
    if job.start is not None:
        parts.append(f"expected to start at {rfc3339(datetime.fromtimestamp(job.start, UTC))}")
    return ", ".join(parts)


def with_waiting_message(status: PodStatus, message: str) -> PodStatus:
    """Return a status in which the pod and its waiting containers have a message."""
    message = message[:_MESSAGE_LIMIT]

    def waits(container: ContainerStatus) -> ContainerStatus:
        waiting = container.state.waiting
        if waiting is None:
            return container
        state = ContainerState(waiting=msgspec.structs.replace(waiting, message=message))
        return msgspec.structs.replace(container, state=state)

    return msgspec.structs.replace(
        status,
        message=message,
        init_container_statuses=tuple(map(waits, status.init_container_statuses)),
        container_statuses=tuple(map(waits, status.container_statuses)),
    )


def end_of_job(
    job: Job | None, last: Observation | None, *, stop: StopRequest | None, at: datetime
) -> Observation:
    """Return the final observation of a pod whose job has ended.

    Args:
        job: the job, from the queue or the accounting; None if Slurm knows it no longer.
        last: the last observation of the shim, which is final if the shim has ended by itself.
        stop: the request to end the pod.
        at: the time of the observation, unless the shim has made the final one.
    """
    meaning = job.meaning if job else None
    is_stopped = stop is not None and stop.is_due(at.timestamp())
    killed = meaning.killed if meaning else LOST
    reason, message = (meaning.reason, meaning.message) if meaning and not is_stopped else (None, None)
    if is_stopped and stop:
        reason = stop.reason
    containers = dict(last.containers) if last else {}
    if last and last.final:
        if last.reason is not None or not has_failed(last):
            return last
        if killed == "OOMKilled":
            containers = {name: _as_out_of_memory(container) for name, container in containers.items()}
        return msgspec.structs.replace(last, reason=reason, containers=containers)
    code = job.exit_code if job and meaning and meaning.reason is None else None
    if code and killed == LOST:
        killed, message = "Error", f"the job has ended with exit code {code}"
    run = ContainerRun(
        started=at,
        finished=min(at, datetime.fromtimestamp(job.end, UTC)) if job and job.end else at,
        code=code or KILLED,
        reason=killed,
        message=message or "the job has ended, and how the container ended with it",
    )
    ended = {name: _killed(container, run) for name, container in containers.items()}
    return Observation(at, ended, final=True, reason=reason or (None if ended or is_stopped else "JobFailed"))


def disruption(job: Job | None, status: PodStatus) -> ReasonAndMessage | None:
    """Return the reason and message of the condition DisruptionTarget of a pod that its node has disrupted."""
    meaning = job.meaning if job else None
    if meaning is None or meaning.disruption is None or status.phase != "Failed":
        return None
    return meaning.disruption, meaning.message


def with_disruption(status: PodStatus, why: ReasonAndMessage, *, at: datetime) -> PodStatus:
    """Return a status with the condition DisruptionTarget."""
    condition = PodCondition(
        type="DisruptionTarget",
        status="True",
        observed_generation=status.observed_generation,
        last_probe_time=None,
        last_transition_time=rfc3339(at),
        reason=why[0],
        message=why[1],
    )
    others = tuple(other for other in status.conditions if other.type != condition.type)
    return msgspec.structs.replace(status, conditions=(condition, *others))


def has_failed(observation: Observation) -> bool:
    """Return whether any container has failed in its last run."""
    return any(container.run is not None and container.run.code for container in observation.containers.values())


def _as_out_of_memory(container: ObservedContainer) -> ObservedContainer:
    run = container.run
    if run is None or run.code != KILLED or run.reason != "Error":
        return container
    return msgspec.structs.replace(container, run=msgspec.structs.replace(run, reason="OOMKilled"))


def _killed(container: ObservedContainer, end: ContainerRun) -> ObservedContainer:
    """Return a container whose run, if it was running, has ended as another one."""
    run = container.run
    if run is not None and run.finished is None:
        finished = max(end.finished or run.started, run.started)
        run = msgspec.structs.replace(end, started=run.started, finished=finished)
    return msgspec.structs.replace(container, run=run, pause=None, waiting=None)
