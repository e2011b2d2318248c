"""Where statuses come from: the provider tells of changes, where it can; else each pod is asked for, in turn."""

import asyncio

import structlog

from broker.backoff import Backoff
from broker.pods.provider_state import Records
from broker.pods.workqueue import Queue
from broker.provider import Changes, PodReference, Provider, ProviderError

_WAIT = 50.0
"""Seconds for which the provider may hold a question open."""
_BATCH = 0.02
"""Seconds between an answer and the next question: what changes together is told together."""
_AT_ONCE = 8
"""How many pods are asked for at once."""
_SHORTEST_DELAY, _LONGEST_DELAY = 0.1, 5.0

log = structlog.get_logger()


class Statuses:
    """Follows the statuses of the pods that the provider has taken on.

    Args:
        provider: the provider.
        records: get what it reports.
        queue: gets the keys of the pods that it is about.
        interval: seconds between two questions for the same pod.
    """

    def __init__(self, provider: Provider, records: Records, queue: Queue, *, interval: float) -> None:
        self._provider = provider
        self._records = records
        self._queue = queue
        self._interval = interval
        self._revision: int | str = 0

    async def run(self) -> None:
        """Follow, until cancelled."""
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            try:
                delay = await self._follow()
            except ProviderError as exc:
                delay = backoff.after(exc)
                self._revision = 0  # it may come back without what it had
                log.info("the provider does not tell how its pods are", error=str(exc), retry_in=delay)
            else:
                if backoff.failures:
                    backoff.reset()
                    self._queue.hasten()
            await asyncio.sleep(delay)

    @property
    def hears(self) -> bool:
        """Whether the provider tells of the next change by itself."""
        return self._revision != 0

    async def ask(self, key: str, uid: str) -> bool:
        """Ask for the status of one pod; tell whether there is news of it, which its record has then."""
        namespace, _, name = key.partition("/")
        status = await self._provider.status(namespace, name)
        return self._records.miss(key, uid) if status is None else self._records.report(key, uid, status)

    async def _follow(self) -> float:
        """Hear what has changed; give the seconds until there is sense in asking again."""
        expected = self._records.running() if self._revision == 0 else []
        started = asyncio.get_running_loop().time()
        changes = await self._provider.statuses_since(self._revision, wait=_WAIT if self._revision else 0)
        if changes is None:
            self._revision = 0
            await self._ask_all()
            return self._interval
        if _has_begun_anew(changes, self._revision):
            self._revision = 0
            return 0
        self._revision = changes.revision
        self._take(changes)
        told = {change.uid for change in changes.statuses}
        for key, uid in expected:
            if uid not in told and self._records.miss(key, uid, surely=True):
                self._queue.add(key)
        quick = asyncio.get_running_loop().time() - started < 1
        return _BATCH if changes.statuses or changes.deleted or not quick else 1

    def _take(self, changes: Changes) -> None:
        for change in changes.statuses:
            if self._records.report(_key(change), change.uid, bytes(change.status)):
                self._queue.add(_key(change))
        for gone in changes.deleted:
            if self._records.miss(_key(gone), gone.uid, surely=True):
                self._queue.add(_key(gone))

    async def _ask_all(self) -> None:
        pods = iter(self._records.running())

        async def ask_in_turn() -> None:
            for key, uid in pods:
                if await self.ask(key, uid):
                    self._queue.add(key)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(_AT_ONCE):
                    group.create_task(ask_in_turn(), name=f"ask for statuses {number}")
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None


def _key(pod: PodReference) -> str:
    return f"{pod.namespace}/{pod.name}"


def _has_begun_anew(changes: Changes, revision: int | str) -> bool:
    """Tell whether a provider counts from the start again: it has lost what it had."""
    return isinstance(changes.revision, int) and isinstance(revision, int) and changes.revision < revision
