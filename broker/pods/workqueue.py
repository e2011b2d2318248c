"""A work queue of keys, like client-go's: deduplicated, one worker per key, retries with backoff.

There is no rate limit across keys: with one, the last of many pods would wait for all the others. The number of
workers limits the load.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from broker.backoff import Backoff
from broker.errors import BrokerError

_SHORTEST_DELAY, _LONGEST_DELAY = 0.005, 300.0

log = structlog.get_logger()

Work = Callable[[str], Awaitable[float | None]]
"""Processes a key. Returns the seconds after which to process it again; None: after the next
:meth:`WorkQueue.add`. A key whose processing raises is retried."""


class RetryLater(BrokerError):
    """A pod cannot be advanced yet: an object, another pod, or the state at the provider is waited for.

    Args:
        message: the reason.
        at_most: upper limit of the delay before the next attempt in seconds; None: that of the queue.
        retry_after: least delay in seconds; None: that of the queue.
    """

    def __init__(self, message: str, *, at_most: float | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.at_most = at_most
        self.retry_after = retry_after


class WorkQueue:
    """Keys to process. A key that is added while it is being processed is processed once more.

    Args:
        kind: what a key names, for the logs.
    """

    def __init__(self, kind: str = "pod") -> None:
        self._kind = kind
        self._ready: asyncio.Queue[str | None] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._workers = 0
        self._stopped = False

    def __len__(self) -> int:
        """Return the number of keys that wait for a worker."""
        return len(self._waiting)

    def add(self, key: str) -> None:
        """Process a key as soon as a worker is free, and reset its backoff: the object has changed."""
        self._backoffs.pop(key, None)
        self._add(key)

    def add_after(self, key: str, delay: float) -> None:
        """Process a key after some seconds, if nothing processes it earlier."""
        loop, timer = asyncio.get_running_loop(), self._timers.get(key)
        if self._stopped or key in self._waiting or (timer and timer.when() <= loop.time() + delay):
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._add, key)

    def retry_failed(self, keys: Iterable[str] | None = None) -> None:
        """Process failed keys now: the cause of the failures, such as an outage, may be over.

        Args:
            keys: those that may have failed; all by default.
        """
        for key in list(self._backoffs if keys is None else keys):
            if key in self._backoffs:
                self.add(key)

    async def run(self, work: Work, *, workers: int) -> None:
        """Process keys until :meth:`stop`, or cancelled.

        Args:
            work: processes a key.
            workers: number of keys processed at once.
        """
        if self._stopped:
            return
        self._workers = workers
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._run(work), name=f"worker {number}")

    def stop(self) -> None:
        """Accept no more keys; the workers finish the keys that are ready."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        for _ in range(self._workers):
            self._ready.put_nowait(None)

    async def _run(self, work: Work) -> None:
        while (key := await self._ready.get()) is not None:
            self._waiting.discard(key)
            self._working.add(key)
            try:
                delay = await work(key)
                self._backoffs.pop(key, None)
            except Exception as exc:
                delay = self._delay_after(exc, key)
            finally:
                self._working.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._add(key)
            elif delay is not None:
                self.add_after(key, delay)

    def _add(self, key: str) -> None:
        if self._stopped:
            return
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def _delay_after(self, error: Exception, key: str) -> float:
        backoff = self._backoffs.setdefault(key, Backoff(_SHORTEST_DELAY, _LONGEST_DELAY))
        delay = backoff.after(error, at_most=getattr(error, "at_most", None))
        known = {self._kind: key, "failures": backoff.failures, "retry_in": round(delay, 3)}
        if isinstance(error, BrokerError):
            log.info(f"{self._kind} is retried", error=str(error), **known)
        else:
            log.error(f"{self._kind} is retried after an unexpected error", exc_info=error, **known)
        return delay
