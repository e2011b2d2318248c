"""Reconcile one pod and its job by what Slurm, the files of the shim and the last status of the pod say."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from app.core.settings import Settings
from app.kubernetes.container_status import initial_waiting_reason
from app.kubernetes.env import CONFIG_ERROR
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import ContainerStateWaiting, Transition
from app.runtimes.base import AcceptedPod
from app.runtimes.observed import (
    Observation,
    ObservedContainer,
    build_lost_status,
    build_observed_status,
    has_started,
    observed_transitions,
)
from app.runtimes.process.runtime import missed_update
from app.runtimes.process.spec import missing_objects
from app.runtimes.slurm.accounting import Accounting, AnswerPending
from app.runtimes.slurm.commands import SlurmError
from app.runtimes.slurm.job_dir import JobDirectory, Submission
from app.runtimes.slurm.job_options import job_options
from app.runtimes.slurm.job_queue import Job, JobQueue, Queue
from app.runtimes.slurm.job_status import (
    disruption,
    end_of_job,
    has_failed,
    queued_message,
    with_disruption,
    with_waiting_message,
)
from app.runtimes.slurm.shared_answer import Answer
from app.runtimes.slurm.users import Users

SCHEME = "slurm"
_SIGNAL_SECONDS = 5.0
"""How often a job is signalled until it has reacted."""
_RETRY_SECONDS = 30.0
"""How often a job is submitted that Slurm has refused."""
_LATE_SECONDS = 30.0
"""How long after its grace period a job is cancelled whose shim does not end the pod."""
_MESSAGE_AGE = timedelta(seconds=60)
"""How often the place in the queue is reported; why a job waits is reported at once."""

log = structlog.get_logger("app")


class JobContext(NamedTuple):
    """The parts that all pods of a node share.

    Attributes:
        settings: the settings.
        queue: the jobs of the pods.
        shim: the directory that has the package `shim`.
        plan: returns the plan of a pod.
        users: the users that jobs run as.
        can_run: returns whether the containers of a pod can run.
        accounting: the jobs that have left the queue.
    """

    settings: Settings
    queue: JobQueue
    shim: Path
    plan: Callable[[AcceptedPod, JobDirectory], dict[str, Any]]
    users: Users
    can_run: Callable[[Manifest], bool]
    accounting: Accounting

    def submit(self, pod: AcceptedPod, directory: JobDirectory, before: Submission | None) -> None:
        """Submit the job of a pod that has none, and that waits for no object.

        Raises:
            SlurmError: the controller does not answer.
            ShimError: a file cannot be written.
        """
        metadata, user = pod.manifest.pod.metadata, self.users.of(pod.manifest)
        directory.write_plan(self.plan(pod, directory))
        directory.submit(
            metadata.name,
            job_options(pod.manifest, self.settings),
            before=before,
            shim=self.shim,
            python=self.settings.slurm_python,
            comment=f"{self.settings.node_name} {metadata.namespace}/{metadata.name} {metadata.uid}",
            user=user,
        )

    def stop(self, pod: AcceptedPod, directory: JobDirectory, job: Job, *, now: datetime) -> None:
        """End the job of a pod: remove it from the queue; signal its shim; cancel it after the grace period.

        A shim keeps a deadline by itself, and learns of a deletion by a signal.

        Raises:
            SlurmError: the controller does not answer.
        """
        stop = directory.stop
        if stop is None or job.meaning.stage in ("ending", "ended") or not directory.is_due(_SIGNAL_SECONDS):
            return
        is_late = now.timestamp() > stop.at / 1e6 + stop.grace + _LATE_SECONDS
        if job.meaning.stage == "queued":
            self.queue.cancel(job, only_pending=True)
        elif is_late:
            self.queue.cancel(job)
        elif pod.deletion_requested_at:
            self.wake(job)

    def wake(self, job: Job) -> None:
        """Make a shim read its files.

        Raises:
            SlurmError: the controller does not answer.
        """
        self.queue.signal(job, "USR1")

    def read_queue(self) -> Answer[Queue] | None:
        """Return the queue; None if the controller does not answer, which the condition of the node tells."""
        try:
            return self.queue.read()
        except SlurmError:
            return None


class ReconcileResult(NamedTuple):
    """New statuses of a pod, and whether it has ended."""

    transitions: list[Transition]
    has_ended: bool = False


class Reconciler:
    """A pod whose status is not final, at a time.

    Args:
        context: what it shares with the other pods.
        pod: the pod.
        directory: its directory.
        current: its last stored status.
        now: the current time.
    """

    def __init__(
        self, context: JobContext, pod: AcceptedPod, directory: JobDirectory, *, current: Transition, now: datetime
    ) -> None:
        self._context = context
        self._pod = pod
        self._directory = directory
        self._current = current
        self._now = now
        # The queue is read first: a job that has left it has written its last observation before.
        self._queue = context.read_queue()
        self._observations = directory.observations()
        self._running = [observation for observation in self._observations if not observation.final]

    def reconcile(self) -> ReconcileResult:
        """Submit, stop or signal the job of the pod, and return its new statuses.

        If the controller does not answer, the statuses are those that the shim has written, except for the last
        one: Slurm knows why a job has been ended.

        Raises:
            ShimError: a file cannot be read or written.
        """
        if self._queue is None:
            return self._report(self._running)
        try:
            job = find_job(self._directory, self._queue) or self._job_that_left(self._queue)
            end = self._end(job, self._queue)
            if end is None:
                return self._continue(job, self._queue)
        except AnswerPending:
            return self._report(self._running)
        except SlurmError as exc:
            log.warning("Slurm does not answer", uid=self._pod.manifest.pod.metadata.uid, problem=str(exc))
            return self._report(self._running)
        return ReconcileResult(self._ended([*self._running, end], job), has_ended=True)

    def _end(self, job: Job | None, queue: Answer[Queue]) -> Observation | None:
        """Return the final observation of a pod that has ended; None if it has not."""
        last = self._last
        is_over = job.is_over if job else self._is_over_without_job(queue)
        if last and last.final and not is_over:
            return last if self._is_explained else None
        return end_of_job(job, last, stop=self._directory.stop, at=self._now) if is_over else None

    def _job_that_left(self, queue: Answer[Queue]) -> Job | None:
        """Return the job of a pod from the accounting, if it has left the queue and its shim does not tell why.

        Raises:
            AnswerPending: the accounting has not answered yet.
            SlurmError: the controller does not answer.
        """
        running = self._directory.running_job
        number = running.number if running else None
        if number is None or self._is_explained or self._is_stopped or not self._is_absent(queue):
            return None
        return self._context.accounting.job(self._directory.key, number)

    @property
    def _last(self) -> Observation | None:
        return self._observations[-1] if self._observations else None

    @property
    def _is_explained(self) -> bool:
        """Whether the shim tells why the pod ended; if it failed without a reason, Slurm may have ended it."""
        last = self._last
        return last is not None and last.final and (last.reason is not None or not has_failed(last))

    def _is_over_without_job(self, queue: Answer[Queue]) -> bool:
        has_run = self._directory.running_job is not None or has_started(self._current.status)
        is_refused = self._is_stopped or not self._context.can_run(self._pod.manifest)
        return (has_run or is_refused) and self._is_absent(queue)

    def _continue(self, job: Job | None, queue: Answer[Queue]) -> ReconcileResult:
        """Submit, stop or signal the job of a pod that has not ended, and return its new statuses."""
        for other in queue.content.others(self._directory.key, job):
            self._context.queue.cancel(other)
        if job is None:
            return self._submit(queue) if self._is_absent(queue) else ReconcileResult([])
        if self._is_stopped:
            self._context.stop(self._pod, self._directory, job, now=self._now)
        elif self._has_missed_update and self._directory.is_due(_SIGNAL_SECONDS):
            self._directory.write_plan(self._context.plan(self._pod, self._directory))
            self._context.wake(job)
        if self._observations:
            return self._report(self._until_end(job))
        if job.meaning.stage != "queued":
            return self._wait(f"starting on node {job.node}")
        places = queue.content.places
        return self._wait(queued_message(job, place=places.get(self._directory.key), of=len(places)))

    def _until_end(self, job: Job) -> list[Observation]:
        """Return the observations of a pod that has not ended, although the shim may have: its job is requeued."""
        last = self._observations[-1]
        if last.final and job.meaning.stage == "queued":
            return [*self._running, msgspec.structs.replace(last, final=False)]
        return self._running

    def _is_absent(self, queue: Answer[Queue]) -> bool:
        """Return whether Slurm has no job of the pod, and none is on its way."""
        if self._directory.has_shim:  # another process, or sbatch, holds the lock
            return False
        submission = self._directory.submission
        if submission is None:
            return True
        if not submission.is_answered:
            queue = self._context.queue.read(is_fresh=True)
        return queue.asked_at > submission.at and find_job(self._directory, queue) is None

    def _submit(self, queue: Answer[Queue]) -> ReconcileResult:
        """Submit the job of a pod that has none, or has lost it, unless it is to wait."""
        missing = {name: message for name, message in missing_objects(self._pod.manifest).items() if message}
        if missing:
            return self._report([self._waiting_for(missing)])
        older = queue.content.of_pods(self._directory.older)
        for job in older:
            self._context.queue.cancel(job)
        if older:
            return self._wait("an earlier job of this pod is ending in Slurm")
        submission = self._directory.submission
        if submission and submission.problem and self._now.timestamp() < submission.at + _RETRY_SECONDS:
            return self._wait(f"Slurm refuses the job: {submission.problem}")
        self._context.submit(self._pod, self._directory, submission)
        return ReconcileResult([])

    @property
    def _has_missed_update(self) -> bool:
        return bool(self._observations) and missed_update(self._observations[-1], self._pod.manifest)

    @property
    def _is_stopped(self) -> bool:
        stop = self._directory.stop
        return stop is not None and stop.is_due(self._now.timestamp())

    @property
    def _at(self) -> datetime:
        """The time of a status that follows now."""
        return self._current.next_timestamp(self._now)

    def _report(self, observations: Sequence[Observation]) -> ReconcileResult:
        return ReconcileResult(list(self._transitions(observations)))

    def _transitions(self, observations: Sequence[Observation]) -> Iterator[Transition]:
        return observed_transitions(self._pod, observations, current=self._current, scheme=SCHEME)

    def _wait(self, message: str) -> ReconcileResult:
        """Report why the pod waits, unless nothing but its place in the queue has changed a short time ago."""
        before = self._current.status.message or ""
        is_same_cause = before.partition(",")[0] == message.partition(",")[0]
        if is_same_cause and (before == message or self._now < self._current.effective_at + _MESSAGE_AGE):
            return ReconcileResult([])
        observation = Observation(self._at)
        status = build_observed_status(
            self._pod, observation, at=self._at, previous=self._current.status, scheme=SCHEME
        )
        return ReconcileResult([Transition(self._at, with_waiting_message(status, message))])

    def _waiting_for(self, missing: dict[str, str]) -> Observation:
        """Return an observation in which containers wait for objects that their environments refer to."""
        reason = initial_waiting_reason(self._pod.manifest.pod.spec)

        def waiting(name: str) -> ObservedContainer:
            found = missing.get(name)
            return ObservedContainer(waiting=ContainerStateWaiting(CONFIG_ERROR if found else reason, found))

        containers = self._pod.manifest.pod.spec.all_containers
        return Observation(self._now, {container.name: waiting(container.name) for container in containers})

    def _ended(self, observations: list[Observation], job: Job | None) -> list[Transition]:
        """Return the last statuses of a pod that has ended."""
        if not observations[-1].containers and has_started(self._current.status):  # its files are gone
            lost = build_lost_status(self._pod, at=self._at, previous=self._current.status)
            return [Transition(self._at, lost)]
        transitions = list(self._transitions(observations))
        if transitions and (why := disruption(job, transitions[-1].status)):
            at, status = transitions[-1]
            transitions[-1] = Transition(at, with_disruption(status, why, at=at))
        return transitions


def find_job(directory: JobDirectory, queue: Answer[Queue]) -> Job | None:
    """Return the job of a pod in the queue; None if there is none."""
    running = directory.running_job
    return queue.content.job(directory.key, owner=running.number if running else None)
