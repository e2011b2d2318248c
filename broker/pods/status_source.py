"""Statuses of pods from the provider: by long poll where it supports that, else by one request a pod and interval.

A provider with `/podStatuses` answers as soon as any status changes. The revision of its answer is the position
from which the next request continues; revision 0 asks for the status of every pod. The position is reset to 0

* after a failure, since the provider may have restarted without its pods, and
* where the provider's revision is lower than the last one: it has lost its pods.

The status of a single pod may be read meanwhile, and the two answers overtake each other: the one that arrives
last may be the older one, with a pod that is not ready yet. Therefore

* a change by long poll is not recorded where the pod was read while the long poll was open: the pod is read once
  more, before the next long poll;
* the status of a single pod is not recorded where the long poll answered while it was read: the next answer has
  what is newer.

A terminal status is always recorded.

A pod that Kubernetes has and a complete answer has not is lost, and created again. If it was to end, it has left:
its last status is read among the latest changes, which a request from an earlier position returns.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import NamedTuple

import structlog

from broker.backoff import Backoff
from broker.errors import ProviderError
from broker.pods.phase import is_terminal
from broker.pods.provider_state import ProviderStates
from broker.pods.workqueue import WorkQueue
from broker.provider import ProviderClient
from broker.provider.answer import Changes, StatusChange
from broker.types import PodReference

_WAIT = 50.0
"""Seconds for which the provider may hold a long poll open."""
_BATCH = 0.02
"""Seconds between an answer and the next long poll, so that simultaneous changes arrive in one answer."""
_RECENT_REVISIONS = 10_000
"""Number of revisions before a complete answer among which pods that have left are looked for."""
_CONCURRENT_POLLS = 8
_SHORTEST_DELAY, _LONGEST_DELAY = 0.1, 5.0

log = structlog.get_logger()


class Poll(NamedTuple):
    """Result of reading one pod's status.

    Attributes:
        status: the status in JSON; None where the provider has no such pod.
        changed: whether the pod has to be reconciled: another status than before, or a lost pod.
    """

    status: bytes | None
    changed: bool


class StatusSource:
    """Follows the statuses of the pods at the provider.

    Args:
        provider: client of the provider.
        states: record each status.
        queue: gets the key of each pod whose status has changed.
        interval: seconds between two requests for the same pod, where the provider has no long poll.
    """

    def __init__(
        self, provider: ProviderClient, states: ProviderStates, queue: WorkQueue, *, interval: float
    ) -> None:
        self._provider = provider
        self._states = states
        self._queue = queue
        self._interval = interval
        self._revision: int | str = 0
        self._has_answered = False
        self._has_no_changes = False
        self._has_read_deletions = False
        self._answers = 0
        self._read_singly: set[str] = set()  # UIDs, since the long poll in progress was sent

    async def run(self) -> None:
        """Follow statuses, until cancelled."""
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            try:
                delay = await self._follow()
            except ProviderError as exc:
                delay = backoff.after(exc)
                self._revision, self._has_answered = 0, False
                log.info("statuses could not be read from the provider", error=str(exc), retry_in=delay)
            else:
                if backoff.failures:
                    backoff.reset()
                    self._queue.retry_failed()
            await asyncio.sleep(delay)

    @property
    def supports_push(self) -> bool:
        """Whether the provider reports changes by long poll at present."""
        return self._has_answered

    @property
    def may_support_push(self) -> bool:
        """Whether the provider may report changes by long poll, if not at present: it may be out of order."""
        return not self._has_no_changes

    @property
    def has_read_deletions(self) -> bool:
        """Whether the last statuses of pods that left before this process started have been looked for."""
        return self._has_read_deletions

    async def poll(self, key: str, uid: str) -> Poll:
        """Read the status of one pod and record it.

        Raises:
            ProviderError: the status could not be read.
        """
        namespace, _, name = key.partition("/")
        answers = self._answers
        status = await self._provider.status(namespace, name)
        if status is None:
            return Poll(None, self._states.record_missing(key, uid))
        if self._answers != answers and not is_terminal(status) and self._states.get(key).status(uid):
            return Poll(status, changed=False)
        self._read_singly.add(uid)
        return Poll(status, self._states.record_status(key, uid, status))

    async def _follow(self) -> float:
        """Make one pass; return the seconds until the next."""
        expected = self._states.active() if self._revision == 0 else []
        started, had_answered = asyncio.get_running_loop().time(), self._has_answered
        # A provider that had no pods at the last answer, and restarts without those that it got since, would wait.
        wait = _WAIT if had_answered and not expected else 0
        self._read_singly.clear()
        changes = await self._provider.statuses_since(self._revision, wait=wait)
        self._has_answered, self._has_no_changes = changes is not None, changes is None
        if changes is None:
            self._revision = 0
            self._has_read_deletions = True
            await self._poll_all(self._states.active())
            return self._interval
        if _has_restarted(changes, self._revision):
            self._revision, self._has_answered = 0, False
            return 0
        reported = {change.uid for change in changes.statuses}
        if self._revision == 0:
            await self._read_deletions(changes.revision, reported)
        has_advanced, self._revision = changes.revision != self._revision, changes.revision
        self._answers += 1
        await self._poll_all(self._record(changes))
        for key, uid in expected:
            if uid not in reported and self._states.record_missing(key, uid, certain=True):
                self._queue.add(key)
        quick = had_answered and asyncio.get_running_loop().time() - started < 1
        return _BATCH if has_advanced or not quick else 1

    async def _read_deletions(self, revision: int | str, reported: Collection[str]) -> None:
        """Read the last statuses of pods that have left: a complete answer has no such pods."""
        if isinstance(revision, int) and revision > 1 and self._states.any_left_unseen(reported):
            changes = await self._provider.statuses_since(max(revision - _RECENT_REVISIONS, 1), wait=0)
            if changes:  # its other statuses are newer than those of the complete answer, which are recorded next
                self._record_deletions(changes)
        self._has_read_deletions = True

    def _record(self, changes: Changes) -> list[tuple[str, str]]:
        """Record an answer; return key and UID of each pod that is to be read once more instead."""
        uncertain = []
        for change in changes.statuses:
            if self._may_be_outdated(change):
                uncertain.append((_key(change), change.uid))
            elif self._states.record_status(_key(change), change.uid, bytes(change.status)):
                self._queue.add(_key(change))
        self._record_deletions(changes)
        return uncertain

    def _record_deletions(self, changes: Changes) -> None:
        for deleted in changes.deleted:
            status = bytes(deleted.status) if bytes(deleted.status) not in (b"", b"null") else None
            if self._states.record_left(_key(deleted), deleted.uid, status):
                self._queue.add(_key(deleted))

    def _may_be_outdated(self, change: StatusChange) -> bool:
        """Return whether a change differs from a status that was read while the long poll was open."""
        status = bytes(change.status)
        if change.uid not in self._read_singly or is_terminal(status):
            return False
        return self._states.get(_key(change)).status(change.uid) != status

    async def _poll_all(self, pods: Iterable[tuple[str, str]]) -> None:
        remaining = iter(pods)

        async def poll_next() -> None:
            for key, uid in remaining:
                if (await self.poll(key, uid)).changed:
                    self._queue.add(key)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(_CONCURRENT_POLLS):
                    group.create_task(poll_next(), name=f"poll statuses {number}")
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None


def _key(pod: PodReference) -> str:
    return f"{pod.namespace}/{pod.name}"


def _has_restarted(changes: Changes, revision: int | str) -> bool:
    """Return whether the provider's revision is lower than the last one: it restarted without its pods."""
    return isinstance(changes.revision, int) and isinstance(revision, int) and changes.revision < revision
