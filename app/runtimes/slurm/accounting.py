"""Jobs that have left the queue, read from the accounting of Slurm.

The controller forgets a job `MinJobAge` after its end, five minutes by default. A pod whose shim was killed then
asks here how its job ended. The queries of all pods are collected: the first is asked at once, those that come
within the interval are asked together after it. A query without an answer is asked three times, since the
accounting may be late or out of service. A cluster without accounting is asked once until the provider restarts.
"""

import time
from collections.abc import Mapping
from itertools import islice
from threading import Lock

import structlog

from app.runtimes.slurm.commands import SlurmError, run
from app.runtimes.slurm.job_queue import Job, JobKey, job_key
from app.runtimes.slurm.users import as_provider

_FORMAT = "JobIDRaw,UID,Submit,State,ExitCode,End,NodeList,JobName"
_FIELDS = 8
_TIMES = 3
"""How often a query is asked."""
_JOBS = 1000
"""The number of jobs in one query."""
_RETRY_SECONDS = 30.0
"""The interval after a query that has failed."""
_LAST_SIGNAL = 64
_NO_ACCOUNTING = ("accounting storage is disabled", "sacct: no such file or directory")

log = structlog.get_logger("app")


class AnswerPending(Exception):
    """The accounting will be asked, or will be asked again."""


class Accounting:
    """Reads how jobs ended.

    Args:
        interval: the seconds between two queries.
    """

    def __init__(self, *, interval: float) -> None:
        self._interval = interval
        self._guard = Lock()
        self._queries: dict[JobKey, _Query] = {}
        self._next_at = float("-inf")
        self._is_off = False

    def job(self, key: JobKey, number: int) -> Job | None:
        """Return a job that has left the queue and has ended.

        Args:
            key: the pod instance that it ran; a job of another name or user that has its ID is not returned.
            number: its ID.

        Returns:
            None if the cluster has no accounting, or if that does not know the end of the job.

        Raises:
            AnswerPending: call again later.
        """
        with self._guard:
            query = self._queries.setdefault(key, _Query(number))
            if not (self._is_off or query.is_closed) and time.monotonic() >= self._next_at:
                self._ask()
            if not (self._is_off or query.is_closed):
                raise AnswerPending
            del self._queries[key]
            return query.answer

    def _ask(self) -> None:
        pending = ((key, query) for key, query in self._queries.items() if not query.is_closed)
        asked = dict(islice(pending, _JOBS))
        numbers = ",".join(str(query.number) for query in asked.values())
        command = ["sacct", "-n", "-P", "-X", "--duplicates", f"--jobs={numbers}", f"--format={_FORMAT}"]
        seconds, text = self._interval, ""
        try:
            with as_provider():
                text = run(command)
        except SlurmError as exc:
            seconds = _RETRY_SECONDS
            self._is_off = any(sign in str(exc).lower() for sign in _NO_ACCOUNTING)
            log.warning("the accounting of Slurm does not answer", problem=str(exc))
        found = parse_accounting(text)
        for key, query in asked.items():
            query.times += 1
            job = found.get(key)
            query.answer = job if job and job.is_over else None
        self._next_at = time.monotonic() + seconds


class _Query:
    """A query for the end of a job: how often it was asked, and its answer, None before."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.times = 0
        self.answer: Job | None = None

    @property
    def is_closed(self) -> bool:
        return self.answer is not None or self.times >= _TIMES


def parse_accounting(text: str) -> Mapping[JobKey, Job]:
    """Parse what sacct prints: pod instance → its job, as submitted or requeued last.

    Lines of jobs that are no pods are skipped.
    """
    found: dict[JobKey, tuple[int, Job]] = {}
    for line in text.splitlines():
        fields = line.split("|", _FIELDS - 1)
        if len(fields) == _FIELDS and fields[0].isdigit() and fields[2].isdigit():
            key, submitted = job_key(name=fields[-1], user=fields[1]), int(fields[2])
            if key and (key not in found or found[key][0] <= submitted):
                found[key] = (submitted, _job(fields))
    return {key: job for key, (_, job) in found.items()}


def _job(fields: list[str]) -> Job:
    number, _, _, state, code, end, nodes, _ = fields
    return Job(
        id=int(number),
        state=state.partition(" ")[0],  # CANCELLED by 1001
        priority=0,
        start=None,
        end=int(end) if end.isdigit() else None,
        node=nodes,
        reason="",
        exit_code=_exit_code(code),
    )


def _exit_code(text: str) -> int | None:
    """Return the exit code of `CODE:SIGNAL`, as a shell has it; None for 0:0 and for numbers that are no signals.

    >>> _exit_code("7:0"), _exit_code("0:9"), _exit_code("0:125")
    (7, 137, None)
    """
    code, _, number = text.partition(":")
    if number.isdigit() and 0 < int(number) <= _LAST_SIGNAL:
        return 128 + int(number)
    return int(code) or None if code.isdigit() else None
