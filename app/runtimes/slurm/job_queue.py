"""The jobs of a node's pods, read from Slurm once for all pods.

A job is known by its name, `POD.UID.NUMBER`, and not by its ID: the name is known before Slurm answers a submit,
and a controller that was killed may give the ID of a job that it has lost to another job. The number is that of
the pod instance, its time of acceptance in microseconds. The user that the job runs as counts too, since any user
may give a job any name.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from app.runtimes.slurm.commands import SlurmError, run
from app.runtimes.slurm.job_states import JobState, job_state
from app.runtimes.slurm.shared_answer import Answer, SharedAnswer
from app.runtimes.slurm.users import as_provider

_FORMAT = "%i|%T|%Q|%S|%e|%B|%U|%r|%j"
_FIELDS = 9


class JobKey(NamedTuple):
    """A pod instance: the UID of the pod and its number, and the number of the user that its job runs as."""

    uid: str
    number: int
    user: int


class Job(NamedTuple):
    """A job of a pod.

    Attributes:
        id: its ID in Slurm.
        state: the name of its state.
        priority: its priority; higher ones start first.
        start: when it started or is expected to start, in seconds since 1970; None if that is unknown.
        end: when it ended or will have reached its time limit; None if that is unknown.
        node: the node that runs its batch step; empty before.
        reason: why it waits, or why it has failed, as Slurm names it.
        exit_code: its exit code, 128 and its number for a signal; None if it is 0, or not known: squeue has none.
    """

    id: int
    state: str
    priority: int
    start: int | None
    end: int | None
    node: str
    reason: str
    exit_code: int | None = None

    @property
    def meaning(self) -> JobState:
        """The meaning of its state for the pod."""
        return job_state(self.state)

    @property
    def is_over(self) -> bool:
        """Whether it has no processes any more."""
        return self.meaning.stage == "ended"


class Queue(NamedTuple):
    """All jobs of pods at one time: those in the queue, and those that ended within `MinJobAge`.

    Attributes:
        jobs: pod instance → its jobs, one except after a fault: first those that are not over, then by ID.
        places: pod instance of a pending job → its place among the pending jobs, from 1.
    """

    jobs: Mapping[JobKey, tuple[Job, ...]]
    places: Mapping[JobKey, int]

    def job(self, key: JobKey, *, owner: int | None) -> Job | None:
        """Return the job of a pod instance; None if there is none.

        Args:
            owner: the ID of the job that has begun to run the pod; None before.
        """
        jobs = self.jobs.get(key, ())
        return next((job for job in jobs if owner in (None, job.id)), None)

    def others(self, key: JobKey, job: Job | None) -> list[Job]:
        """Return the jobs of a pod instance that must not run beside another one."""
        return [other for other in self.jobs.get(key, ()) if other != job and not other.is_over]

    def of_pods(self, keys: list[JobKey]) -> list[Job]:
        """Return the jobs of pod instances that are not over."""
        return [job for key in keys for job in self.others(key, None)]


def job_name(pod: str, key: JobKey) -> str:
    """Return the name of the job of a pod instance."""
    return f"{pod}.{key.uid}.{key.number}"


def job_key(*, name: str, user: str) -> JobKey | None:
    """Return the pod instance of a job by its name and the number of its user; None if it is no pod."""
    parts = name.rsplit(".", 2)
    return JobKey(parts[1], int(parts[2]), int(user)) if len(parts) == 3 and parts[2].isdigit() else None


def parse_queue(text: str) -> Queue:
    """Parse what squeue prints; lines of jobs that are no pods are skipped."""
    found: dict[JobKey, list[Job]] = {}
    for line in text.splitlines():
        fields = line.split("|", _FIELDS - 1)
        is_job = len(fields) == _FIELDS and fields[0].isdigit()
        if is_job and (key := job_key(name=fields[-1], user=fields[-3])):
            found.setdefault(key, []).append(_job(fields))
    jobs = {key: tuple(sorted(several, key=lambda job: (job.is_over, job.id))) for key, several in found.items()}
    pending = sorted(
        (key for key, several in jobs.items() if several[0].meaning.stage == "queued"),
        key=lambda key: (-jobs[key][0].priority, jobs[key][0].id),
    )
    return Queue(MappingProxyType(jobs), MappingProxyType({key: place for place, key in enumerate(pending, 1)}))


class JobQueue:
    """Reads the queue, and cancels and signals jobs.

    Args:
        directory: the RUNTIME_DIRECTORY, in which processes share what they have read.
        max_age: for how many seconds an answer of squeue is used.
        users: the numbers of the users that jobs run as.
    """

    def __init__(self, directory: Path, *, max_age: float, users: Iterable[int]) -> None:
        chosen = ",".join(map(str, users))
        command = ["squeue", "--noheader", "--states=all", f"--user={chosen}", f"--format={_FORMAT}"]
        self._answer: SharedAnswer[Queue] = SharedAnswer(
            directory / ".queue.json", lambda: run(command), parse_queue, max_age=max_age
        )

    def read(self, *, is_fresh: bool = False) -> Answer[Queue]:
        """Return the queue as it was a short time ago, or, if it is to be fresh, after this call.

        Raises:
            SlurmError: the controller does not answer.
        """
        with as_provider():
            return self._answer.get(after=time.time() if is_fresh else 0.0)

    def cancel(self, job: Job, *, only_pending: bool = False) -> None:
        """Cancel a job: Slurm removes it from the queue, or sends SIGTERM and, after `KillWait`, SIGKILL.

        Raises:
            SlurmError: the controller does not answer.
        """
        self._scancel(["--state=PENDING"] if only_pending else [], job)

    def signal(self, job: Job, name: str) -> None:
        """Send a signal to the shim of a job, and not to its containers.

        Raises:
            SlurmError: the controller does not answer.
        """
        self._scancel(["--batch", f"--signal={name}"], job)

    def _scancel(self, options: list[str], job: Job) -> None:
        try:
            run(["scancel", "--quiet", *options, str(job.id)])
        except SlurmError as exc:
            if "invalid job id" not in str(exc).lower() and "already" not in str(exc).lower():
                raise


def _job(fields: list[str]) -> Job:
    number, state, priority, start, end, node, _, reason, _ = fields
    return Job(
        id=int(number),
        state=state,
        priority=int(priority) if priority.isdigit() else 0,
        start=int(start) if start.isdigit() else None,
        end=int(end) if end.isdigit() else None,
        node="" if node in ("n/a", "(null)", "N/A") else node,
        reason=reason.strip("()"),
    )
