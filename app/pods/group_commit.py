"""Group commit: requests that wait for their turn are carried out together, in one transaction.

The problem: the writes of a fleet wait for each other, and each waits for the disk. With a transaction for each
request, sixteen clients wait for sixteen commits, one after another.

The rule: each request, or batch of requests, joins a queue. The thread whose request is first in the queue leads:
it begins a transaction, takes what has gathered in the queue until then, carries it out, commits once, and then
wakes the threads of the others, which return their outcomes. Then the thread that is first in the queue leads. No
thread returns before the commit, and each request is a step that fails alone. There is no delay for a request that
comes alone: it leads at once, as a group of one.

An example: A leads. B and C arrive while it commits, and wait. When A is done, B leads: it carries out its own
request and that of C, and commits both.

Source: the writer queue of LevelDB, `DBImpl::Write`.
"""

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple

from app.core.errors import DatabaseUnavailable, ProviderError
from app.db.engine import BUSY_TIMEOUT_SECONDS
from app.pods.accepted import sync_pods
from app.pods.context import FleetContext
from app.pods.requests import WriteRequest
from app.pods.rows import Unchanged
from app.pods.transaction import FleetTransaction
from app.pods.writer import PodWriter
from app.runtimes import AcceptedPod

_LARGEST_GROUP = 128
"""The most requests of a group, except of a batch that is larger. More hold up its first request for too long."""


class WriteResult(NamedTuple):
    """The outcome of a write request.

    Attributes:
        error: why it was refused, or failed; None where it has succeeded.
        touched: the pods whose timelines changed.
    """

    error: Exception | None = None
    touched: Sequence[AcceptedPod] = ()


class _Member:
    """The requests of one thread, in the queue.

    Attributes:
        outcomes: the outcome of each request; None until they are carried out.
        failure: why none of them was carried out.
        is_taken: whether a leader carries them out.
        turn: released once its thread is to lead, or is done.
    """

    def __init__(self, requests: Sequence[WriteRequest]) -> None:
        self.requests = requests
        self.outcomes: Sequence[WriteResult] | None = None
        self.failure = DatabaseUnavailable("the request was interrupted")
        self.is_taken = False
        self.turn = threading.Lock()
        self.turn.acquire()


class GroupCommit:
    """Carries out the write requests of one fleet."""

    def __init__(self, fleet: FleetContext) -> None:
        self._fleet = fleet
        self._lock = threading.Lock()
        self._queue: deque[_Member] = deque()

    def carry_out(self, requests: Sequence[WriteRequest]) -> list[Exception | None]:
        """Carry out requests in their order; return why each was refused or failed, None for those that succeeded.

        All that succeed are committed at once. One that is refused or fails does not affect the others.

        Raises:
            DatabaseUnavailable: nothing was written.
        """
        member = _Member(requests)
        with self._lock:
            self._queue.append(member)
            is_first = self._queue[0] is member
        if not is_first:
            self._wait(member)
        if not member.is_taken:
            self._lead(member)
        if member.outcomes is None:
            raise member.failure
        for outcome in member.outcomes:
            sync_pods(self._fleet.runtime, outcome.touched)
        return [outcome.error for outcome in member.outcomes]

    def _wait(self, member: _Member) -> None:
        """Wait until a member is first in the queue, or is carried out.

        Raises:
            DatabaseUnavailable: neither was so in time; the member has left the queue.
        """
        if member.turn.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            return
        with self._lock:
            if not member.is_taken:
                if self._queue[0] is member:
                    return
                self._queue.remove(member)
                raise DatabaseUnavailable("the database is locked")
        member.turn.acquire()  # only its leader knows whether it was written

    def _lead(self, leader: _Member) -> None:
        """Carry out the member that is first in the queue, and those behind it; then let the next one lead."""
        leader.is_taken = True
        group = [leader]
        try:
            self._commit(group)
        finally:
            with self._lock:
                for _ in group:
                    self._queue.popleft()
                next_leader = [self._queue[0]] if self._queue else []
            for member in (*group[1:], *next_leader):
                member.turn.release()

    def _commit(self, group: list[_Member]) -> None:
        """Carry out a group, to which those are added that have gathered when the fleet is locked."""
        try:
            with self._begin() as transaction:
                self._gather(group)
                outcomes = self._apply(_requests(group), transaction)
        except DatabaseUnavailable as exc:
            for member in group:
                member.failure = type(exc)(str(exc))
            return
        except Exception as exc:  # a fault of the program: it may be due to one request alone
            requests = _requests(group)
            outcomes = [WriteResult(exc)] if len(requests) == 1 else [self._alone(request) for request in requests]
        remaining = iter(outcomes)
        for member in group:
            member.outcomes = [next(remaining) for _ in member.requests]

    def _gather(self, group: list[_Member]) -> None:
        size = len(group[0].requests)
        with self._lock:
            for member in islice(self._queue, 1, None):
                size += len(member.requests)
                if size > _LARGEST_GROUP:
                    break
                member.is_taken = True
                group.append(member)

    def _begin(self) -> AbstractContextManager[FleetTransaction]:
        return FleetTransaction.begin(self._fleet.database, self._fleet.settings, clock=self._fleet.clock)

    def _apply(self, requests: Sequence[WriteRequest], transaction: FleetTransaction) -> list[WriteResult]:
        pods = [request.pod for request in requests]
        names = [(pod.namespace, pod.name) for pod in pods]
        transaction.rows.load(names, [pod.uid for pod in pods if pod.uid])
        transaction.rows.load_statuses(until=transaction.now)
        return [self._step(request, transaction) for request in requests]

    def _alone(self, request: WriteRequest) -> WriteResult:
        """Carry out a request in a transaction of its own."""
        try:
            with self._begin() as transaction:
                return self._apply([request], transaction)[0]
        except Exception as exc:
            return WriteResult(exc)

    def _step(self, request: WriteRequest, transaction: FleetTransaction) -> WriteResult:
        writer = PodWriter(transaction, self._fleet, caller=request.caller, verb=request.verb)
        try:
            with transaction.step():
                request.apply(writer)
        except Unchanged:
            return WriteResult()
        except ProviderError as exc:
            return WriteResult(exc)
        return WriteResult(touched=writer.touched)


def _requests(group: Sequence[_Member]) -> list[WriteRequest]:
    return [request for member in group for request in member.requests]
