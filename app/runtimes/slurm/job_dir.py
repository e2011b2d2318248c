"""The directory of a pod instance in the file system that the cluster shares, and the job that works in it.

    RUNTIME_DIRECTORY/<pod's UID>/lock, volumes
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/plan.json      what the shim runs; contains secrets
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/submitted.json when the job was submitted, or why it was not
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/job.json       the job that runs the pod
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/job.log        errors of the shim
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/state.json, stop.json, usage.json, <container>/*.log

A provider that restarts must know whether a pod has a job. Slurm knows: the job has the pod's UID in its name.
Three rules make sure that a pod runs once, whatever is killed and whenever:

1. `submitted.json` is written before sbatch is called. A pod without it has no job. One with it has a job, or has
   lost it: then the queue, read after that time, does not have its name, and it is submitted again.
2. sbatch holds the lock of the pod. If the provider is killed, the next one waits for the end of sbatch.
3. A job makes `job.json` before it runs anything, and a second job of the pod finds the file and ends.
"""

import contextlib
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.runtimes.process.pod_dir import PodDirectory, ShimError
from app.runtimes.process.shim.disk import remove_tree
from app.runtimes.process.shim.job import JOB, PLAN
from app.runtimes.process.shim.record import STOP, StopRequest, replace
from app.runtimes.slurm.commands import SlurmError, is_unreachable, run
from app.runtimes.slurm.job_queue import JobKey, job_name
from app.runtimes.slurm.users import User, as_owner_of, as_provider

_SUBMITTED = "submitted.json"
_SIGNALLED = "signalled"
_LOG = "job.log"


class Submission(msgspec.Struct, frozen=True):
    """A submit of a job.

    Attributes:
        at: when sbatch was called, or has answered, in seconds since 1970.
        is_answered: whether sbatch has answered.
        problem: why Slurm has refused the job; None if it has not.
    """

    at: float
    is_answered: bool
    problem: str | None = None


class RunningJob(msgspec.Struct, frozen=True):
    """The job that runs a pod.

    Attributes:
        id: its ID.
        node: the node on which its shim runs.
        sockets: the directory, on its node, of the shim's sockets.
    """

    id: str
    node: str
    sockets: str

    @property
    def number(self) -> int | None:
        """Its ID as a number; None if it is none."""
        return int(self.id) if self.id.isdigit() else None


_SUBMISSION = msgspec.json.Decoder(Submission)
_RUNNING_JOB = msgspec.json.Decoder(RunningJob)
_STOP_FIELDS = msgspec.json.Decoder(dict[str, Any])


class JobDirectory(PodDirectory):
    """The files of one instance of a pod whose shim is a job."""

    @property
    def key(self) -> JobKey:
        """The key of the pod instance in the queue."""
        try:
            user = self._pod_directory.lstat().st_uid
        except FileNotFoundError:
            user = os.geteuid()
        return JobKey(self._pod_directory.name, self._number, user)

    @property
    def older(self) -> list[JobKey]:
        """The keys of earlier instances of the pod that have files."""
        try:
            numbers = self._instances()
        except FileNotFoundError:
            return []
        key = self.key
        return [key._replace(number=number) for number in numbers if number < self._number]

    @property
    def submission(self) -> Submission | None:
        """The last submit; None before the first."""
        try:
            return _SUBMISSION.decode((self.path / _SUBMITTED).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None

    @property
    def running_job(self) -> RunningJob | None:
        """The job that has begun to run the pod; None before."""
        try:
            return _RUNNING_JOB.decode((self.path / JOB).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None

    @property
    def stop(self) -> StopRequest | None:
        """The request to end the pod; None without one."""
        try:
            return StopRequest(**_STOP_FIELDS.decode((self.path / STOP).read_bytes()))
        except (OSError, TypeError, msgspec.DecodeError):
            return None

    @property
    def log(self) -> Path:
        """The file with the errors of the shim."""
        return self.path / _LOG

    def as_owner(self) -> contextlib.AbstractContextManager[None]:
        """Use the files with the rights of their owner."""
        return as_owner_of(self._pod_directory)

    def give_to(self, user: User) -> None:
        """Change the owner of all files of the UID to the user of the job, who cannot reach them before.

        Raises:
            ShimError: they cannot be changed, or are another user's.
        """
        try:
            with as_provider():
                self._pod_directory.mkdir(mode=0o700, exist_ok=True)
                owner = self._pod_directory.lstat().st_uid
                if owner == os.geteuid() != user.uid:
                    _give(self._pod_directory, user)
                elif owner != user.uid:
                    raise ShimError(f"{self._pod_directory}: belongs to the user {owner}")
        except OSError as exc:
            raise ShimError(f"{self._pod_directory}: {exc.strerror}") from exc

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write the plan, which the shim reads when it starts and when it is signalled.

        Raises:
            ShimError: the file cannot be written.
        """
        try:
            self._pod_directory.mkdir(mode=0o700, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            replace(str(self.path / PLAN), plan)
        except OSError as exc:
            raise ShimError(f"{self.path}: {exc.strerror}") from exc

    def remove_secrets(self) -> None:
        """Remove the plan and the files of volumes of a pod that has ended."""
        with contextlib.suppress(OSError):
            (self.path / PLAN).unlink()
        shutil.rmtree(self.files, ignore_errors=True)

    def _remove_all(self) -> None:
        for path in self._pod_directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                remove_tree(str(path))
            else:
                path.unlink()
        with as_provider():
            self._pod_directory.rmdir()

    def submit(
        self,
        pod: str,
        options: Sequence[str],
        *,
        before: Submission | None,
        shim: Path,
        python: str,
        comment: str,
        user: User | None,
    ) -> bool:
        """Submit the job of the pod. The caller makes sure that there is none, and has written the plan.

        Args:
            pod: the name of the pod.
            options: options of sbatch.
            before: the last submit, of which the caller knows that it has left no job.
            shim: the directory that has the package `shim`.
            python: the interpreter.
            comment: the comment of the job.
            user: the user that it runs as; None for that of the provider.

        Returns:
            False if another process submits the pod, or has done so since.

        Raises:
            SlurmError: the controller does not answer: the job may have been submitted or not.
            ShimError: a file cannot be written.
        """
        try:
            with self._try_lock() as lock:
                if lock is None or self.submission != before or self.running_job:
                    return False
                self._submit(
                    [
                        "sbatch",
                        "--parsable",
                        f"--job-name={job_name(pod, self.key)}",
                        f"--comment={comment}",
                        f"--chdir={shim}",
                        f"--output={_without_patterns(self.log)}",
                        "--open-mode=append",
                        "--ntasks=1",
                        *options,
                    ],
                    _script(python, self.path),
                    lock,
                    user,
                )
                return True
        except OSError as exc:
            raise ShimError(f"{self.path}: {exc.strerror}") from exc

    def _submit(self, command: list[str], script: str, lock: int, user: User | None) -> None:
        self._write_submission(Submission(time.time(), is_answered=False))
        try:
            run(command, script=script, keep=[lock], user=user)
        except SlurmError as exc:
            if is_unreachable(exc):
                raise
            self._write_submission(Submission(time.time(), is_answered=True, problem=_cause(exc)))
        else:
            self._write_submission(Submission(time.time(), is_answered=True))

    def _write_submission(self, submission: Submission) -> None:
        replace(str(self.path / _SUBMITTED), msgspec.to_builtins(submission))

    def is_due(self, seconds: float) -> bool:
        """Return whether the job was not signalled for some seconds; if so, count a signal now."""
        path = self.path / _SIGNALLED
        try:
            age = time.time() - path.stat().st_mtime
            if 0 <= age < seconds:
                return False
        except FileNotFoundError:
            pass
        try:
            path.touch(mode=0o600)
        except OSError as exc:
            raise ShimError(f"{path}: {exc.strerror}") from exc
        return True


def _give(directory: Path, user: User) -> None:
    """Change the owner of a directory and all that is in it, and their group where it is that of the provider."""
    for parent, _, names in os.walk(directory, topdown=False):
        for path in (*(Path(parent, name) for name in names), Path(parent)):
            group = user.gid if path.lstat().st_gid == os.getegid() else -1
            os.chown(path, user.uid, group, follow_symlinks=False)


def _script(python: str, directory: Path) -> str:
    """Return the script of a job. The shim takes its place, and so gets the signals that are for the batch step.

    SIGUSR1 is ignored until the shim handles it.
    """
    return (
        "#!/bin/sh\n"
        "trap '' USR1\n"
        f"exec {shlex.quote(python)} -E -S -s -X utf8 -m shim {shlex.quote(str(directory))} job\n"
    )


def _cause(error: SlurmError) -> str:
    """Return the message of sbatch without `sbatch: error: Batch job submission failed: `."""
    return str(error).rpartition(": ")[2]


def _without_patterns(path: Path) -> str:
    """Return a path in which sbatch replaces nothing."""
    return str(path).replace("%", "%%")
