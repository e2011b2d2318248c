"""A runtime on Slurm: a pod is a job, which runs the pod's shim on a node of the cluster.

The shim is that of :mod:`app.runtimes.process`: it runs the containers and writes their states and logs, here into
a directory that the cluster shares. Slurm is the authority for whether the job waits, runs or has ended.
"""

import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import structlog

from app.core.errors import ConfigurationError, InvalidRequest
from app.core.settings import Settings
from app.core.timestamps import rfc3339
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import PodReference
from app.kubernetes.stats import NodeStats
from app.kubernetes.status import PodStatus, Transition
from app.kubernetes.volumes import Volume
from app.runtimes.base import AcceptedPod, LogLine, Runtime, Timeline
from app.runtimes.process.pod_dir import PodDirectory
from app.runtimes.process.runtime import ProcessRuntime
from app.runtimes.process.spec import check_uid, missing_objects
from app.runtimes.slurm.accounting import Accounting
from app.runtimes.slurm.cluster import ClusterReader
from app.runtimes.slurm.commands import SlurmError
from app.runtimes.slurm.container_command import check_images, prefix, with_images
from app.runtimes.slurm.job_dir import JobDirectory
from app.runtimes.slurm.job_options import job_options
from app.runtimes.slurm.job_queue import JobQueue
from app.runtimes.slurm.reconciler import SCHEME, JobContext, Reconciler, find_job
from app.runtimes.slurm.shim_copy import install_shim
from app.runtimes.slurm.streams import JobStreams
from app.runtimes.slurm.usage import JobUsage
from app.runtimes.slurm.users import Users, as_owner_of
from app.runtimes.streams import Session, StreamOptions
from app.runtimes.usage import EarlierUsage

log = structlog.get_logger("app")


class SlurmRuntime(ProcessRuntime):
    """Runs each pod as a job of Slurm. Files in a shared file system, and Slurm, hold all state."""

    reports_node_usage = False
    keeps_deadlines = False  # a job that waits in the queue has not started
    scheme = SCHEME
    queue_age: ClassVar[timedelta] = timedelta(seconds=2)
    """How long an answer of squeue is used, by all pods, and how often sacct is asked at most."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        users = Users(settings.slurm_users)
        if settings.slurm_users:
            self._root.chmod(stat.S_IMODE(self._root.stat().st_mode) | 0o011)  # each pod's directory is its user's
        self._cluster = ClusterReader(self._root, settings.slurm_partitions)
        try:
            shim = install_shim(self._root)
        except OSError as exc:
            raise ConfigurationError(f"RUNTIME_DIRECTORY: {self._root}: {exc.strerror}") from exc
        self._context = JobContext(
            settings,
            JobQueue(self._root, max_age=self.queue_age.total_seconds(), users=users.uids),
            shim,
            self._plan,
            users,
            self._can_run,
            Accounting(interval=self.queue_age.total_seconds()),
        )

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """Accept a pod that can be a job. It is pending until the job starts.

        Raises:
            InvalidRequest: a field is not supported.
        """
        job_options(pod.manifest, self.settings)
        check_images(pod.manifest, self.settings.container_command)
        return super().create(pod, now=now)

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """Accept a change that affects neither the job nor a running process.

        Raises:
            InvalidRequest: the change affects the job or a process.
        """
        if self._options(pod.manifest) != self._options(before):
            raise InvalidRequest("a job cannot be changed; delete the pod and create it again", field="spec")
        return super().update(pod, before=before, current=current, now=now)

    def _options(self, manifest: Manifest) -> tuple[int, list[str]]:
        return self._user(manifest), job_options(manifest, self.settings)

    def sync(self, pod: AcceptedPod) -> None:
        """Submit the job of a pod, write a changed plan, or request the end of a deleted pod.

        If the controller does not answer, nothing is done; :meth:`advance` catches up.

        Raises:
            ShimError: the files cannot be written.
        """
        directory = self._job_directory(pod)
        with self._as_user(pod, directory):
            self._sync(pod, directory)

    def _sync(self, pod: AcceptedPod, directory: JobDirectory) -> None:
        self._request_stop(directory, pod)
        try:
            if pod.deletion_requested_at is None and directory.submission is None:
                self._submit(pod, directory)
            else:
                self._signal(pod, directory)
        except SlurmError as exc:
            log.warning("Slurm does not answer", uid=pod.manifest.pod.metadata.uid, problem=str(exc))

    def _submit(self, pod: AcceptedPod, directory: JobDirectory) -> None:
        """Submit the job of a new pod, unless it is to wait: :meth:`advance` does it then."""
        if not any(missing_objects(pod.manifest).values()) and not directory.older:
            self._context.submit(pod, directory, None)

    def _signal(self, pod: AcceptedPod, directory: JobDirectory) -> None:
        """Send the job of a changed or deleted pod a signal."""
        if pod.deletion_requested_at is None:
            directory.write_plan(self._plan(pod, directory))
        job = find_job(directory, self._context.queue.read())
        if job and pod.deletion_requested_at:
            self._context.stop(pod, directory, job, now=datetime.now(UTC))
        elif job and job.meaning.stage == "running":
            self._context.wake(job)

    def _advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        directory = self._job_directory(pod)
        if current.status.is_terminal:
            with directory.as_owner():
                return self._end(pod, directory, [], now=now)
        with self._as_user(pod, directory):
            return self._reconcile(pod, directory, current=current, now=now)

    def _reconcile(
        self, pod: AcceptedPod, directory: JobDirectory, *, current: Transition, now: datetime
    ) -> Timeline | None:
        self._request_stop(directory, pod)
        outcome = Reconciler(self._context, pod, directory, current=current, now=now).reconcile()
        if outcome.has_ended:
            directory.remove_secrets()
            return self._end(pod, directory, outcome.transitions, now=now)
        return Timeline(outcome.transitions, continues_at=now) if outcome.transitions else None

    def put_volumes(self, pod: PodReference, volumes: Sequence[Volume]) -> None:
        """Write the files of volumes, as the user of the job where there is one; see :class:`ProcessRuntime`."""
        check_uid(pod.uid)
        with as_owner_of(self._root / (pod.uid or "")):
            super().put_volumes(pod, volumes)

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Read the log that the shim writes."""
        directory = self._job_directory(pod)
        with directory.as_owner():
            lines = super().logs(pod, container, previous=previous, status=status)
        return _each_as_owner(directory, lines)

    def exec(self, pod: AcceptedPod, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
        """Run a command as a child of the pod's shim, which srun reaches."""
        plan, template = self._plan(pod, self._job_directory(pod)), self.settings.container_command
        described = next(found for found in plan["containers"] if found["name"] == container)
        words = prefix(described, pod.manifest, template) if template else []
        return super().exec(pod, container, [*words, *command], streams)

    def _streams(self, pod: AcceptedPod) -> JobStreams:
        directory = self._job_directory(pod)
        with directory.as_owner():
            job = directory.running_job
        user = self._context.users.of(pod.manifest)
        return JobStreams(job, shim=self._context.shim, python=self.settings.slurm_python, user=user)

    def usage(self, pod: AcceptedPod, *, earlier: Sequence[EarlierUsage] = ()) -> JobUsage:
        """Return what reads the measurements that the pod's shim makes every half minute."""
        return JobUsage(self._job_directory(pod))

    def node_usage(self) -> NodeStats:
        """Refuse: the machine of the provider runs no pods."""
        return Runtime.node_usage(self)

    def capacity(self) -> dict[str, str]:
        """Return CAPACITY if it is set, else that of the nodes that can run jobs."""
        if "capacity" in self.settings.model_fields_set:
            return Runtime.capacity(self)
        storage = {"ephemeral-storage": self._capacity["ephemeral-storage"]}
        return {**self._cluster.capacity(self.settings.slurm_gres), **storage}

    def conditions(self, *, now: datetime, since: datetime) -> list[dict[str, str]]:
        """Return the node's conditions; it is ready if the controller answers and a node can run jobs."""
        error, changed = self._cluster.health()
        ready = {
            "status": "True" if error is None else "False",
            "lastTransitionTime": rfc3339(max(since, datetime.fromtimestamp(changed, UTC))),
            "reason": "SlurmReady" if error is None else "SlurmNotReady",
            "message": "the controller of Slurm answers" if error is None else f"Slurm: {error}",
        }
        return [
            {**condition, **ready} if condition["type"] == "Ready" else condition
            for condition in super().conditions(now=now, since=since)
        ]

    def _is_alive(self, pod: AcceptedPod, directory: PodDirectory) -> bool:
        queue = self._context.read_queue()
        job = find_job(self._job_directory(pod), queue) if queue else None
        return queue is None or (job is not None and not job.is_over)

    def _as_user(self, pod: AcceptedPod, directory: JobDirectory) -> AbstractContextManager[None]:
        """Change the owner of the files of a pod to the user of its job, and use them with that user's rights.

        Raises:
            ShimError: they cannot be given.
        """
        with suppress(InvalidRequest):  # the user of an earlier SLURM_USERS keeps them
            if user := self._context.users.of(pod.manifest):
                directory.give_to(user)
        return directory.as_owner()

    def _user(self, manifest: Manifest) -> int:
        user = self._context.users.of(manifest)
        return user.uid if user else super()._user(manifest)

    def _can_run(self, manifest: Manifest) -> bool:
        try:
            job_options(manifest, self.settings)
        except InvalidRequest:
            return False
        return super()._can_run(manifest)

    def _plan(self, pod: AcceptedPod, directory: PodDirectory) -> dict[str, Any]:
        return with_images(super()._plan(pod, directory), pod.manifest, self.settings.container_command)

    def _inherited_variables(self) -> dict[str, str]:
        """Return none: a container has the variables of its job, which Slurm sets on its node."""
        return {}

    def _job_directory(self, pod: AcceptedPod) -> JobDirectory:
        return JobDirectory.of(pod, root=self._root)


def _each_as_owner(
    directory: JobDirectory, lines: Iterator[LogLine | None]
) -> Generator[LogLine | None, None, None]:
    """Yield the lines of a log, each read with the rights of its owner."""
    while True:
        with directory.as_owner():
            try:
                line = next(lines)
            except StopIteration:
                return
        yield line
