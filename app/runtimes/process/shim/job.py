"""The shim as the batch step of a job of Slurm.

The provider is on another machine. So it writes the plan to a file, and wakes the shim by a signal in place of
the pipe: SIGUSR1, after which the shim reads the files again, for a minute, since a network file system may show a
new file late. SIGTERM is Slurm's: the job has reached its time limit, or is preempted or cancelled, and the pod is
ended.

The job is the authority for whether the pod runs, so there is no lock. It takes the pod by making `job.json`. A
job that is requeued has the same ID, and continues; another job of the same pod finds the file and ends.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from .record import Record, StopRequest
from .supervisor import Supervisor

PLAN = "plan.json"
JOB = "job.json"

_POLL_SECONDS, _LATE_SECONDS = 1.0, 60.0
"""How often files are read after a signal, and for how long: a client of NFS may know a file that late."""
_FIRST_MEASURE_SECONDS, _MEASURE_SECONDS = 1.0, 30.0
"""How often the usage of the containers is measured: nobody can ask for it from another machine."""


def main(directory: str) -> None:
    """Run a pod, and exit with the code of its first container that failed."""
    os.umask(0o077)
    sockets = tempfile.mkdtemp(prefix="virtual-kubelet-")
    try:
        job = {"id": "SLURM_JOB_ID", "node": "SLURMD_NODENAME"}
        described = {name: os.environ.get(variable, "") for name, variable in job.items()}
        if not _take(directory, {**described, "sockets": sockets}):
            sys.exit("another job runs this pod")
        os.chdir("/")
        supervisor = JobSupervisor(read_plan(directory), Record(directory, sockets))
        supervisor.run()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
    sys.exit(supervisor.exit_code)


class JobSupervisor(Supervisor):
    """Runs a pod as the batch step of a job."""

    def __init__(self, plan: dict[str, Any], record: Record) -> None:
        self._poll_until = float("-inf")
        self._measure_at = time.monotonic() + _FIRST_MEASURE_SECONDS
        self._ended: StopRequest | None = None
        """The stop that Slurm has asked for."""
        super().__init__(plan, record)
        signal.signal(signal.SIGUSR1, self._handle)

    @property
    def _may_continue(self) -> bool:
        return self._ended is not None  # Slurm may requeue the job; the provider removes the volumes

    def _handle(self, signal_: int, frame: FrameType | None) -> None:
        if signal_ == signal.SIGUSR1:
            self._poll_until = time.monotonic() + _LATE_SECONDS
        elif signal_ == signal.SIGTERM and self._ended is None:
            self._ended = StopRequest(at=time.time_ns() // 1000, grace=self._grace, reason=None)

    def _poll(self, now: float) -> float:
        if self._ended and not (self._stop and self._stop.is_due(time.time())):
            self._stop = self._ended
        if self._measure_at <= now:
            self._measure_at = now + _MEASURE_SECONDS
            self._meter.ask()
        if now >= self._poll_until:
            return self._measure_at
        if not self._ended:
            self._read_stop()
        with suppress(OSError, ValueError):  # it is complete, or will be
            self._use_plan(read_plan(self._record.directory))
        return min(self._measure_at, now + _POLL_SECONDS)


def read_plan(directory: str) -> dict[str, Any]:
    """Read the plan, and add the variables of the job to the environments of the containers.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is incomplete.
    """
    with open(os.path.join(directory, PLAN), "rb") as file:
        plan: dict[str, Any] = json.load(file)
    for container in plan["containers"]:
        container["env"] = {**os.environ, **container["env"]}
    return plan


def _take(directory: str, job: dict[str, str]) -> bool:
    """Make `job.json`, at once and with its content; return whether the pod belongs to this job."""
    path = os.path.join(directory, JOB)
    temporary = f"{path}.{job['id']}.{os.getpid()}"
    with open(temporary, "x", encoding="utf-8") as file:
        json.dump(job, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        with open(path, "rb") as file:
            if json.load(file)["id"] != job["id"]:
                return False
        os.replace(temporary, path)  # the same job again, perhaps on another node
        return True
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return True
