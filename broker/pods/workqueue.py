"""A queue of keys to work on: each key once, one at a time, again with a growing delay where it fails.

There is no limit over all keys together, such as so many in a second: with one, the last of many pods waits for
all the others. What limits the work is the number of workers.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from broker.errors import BrokerError

_SHORTEST_DELAY, _LONGEST_DELAY = 0.005, 300.0

log = structlog.get_logger()

Work = Callable[[str], Awaitable[float | None]]
"""Works on a key. What it returns is in how many seconds to do so again, if not before; None: when somebody asks
for it. Where it raises it is tried again."""


class Later(BrokerError):
    """Something is not there yet; it is looked for again, with delays of no more than `at_most` seconds."""

    def __init__(self, message: str, *, at_most: float) -> None:
        super().__init__(message)
        self.at_most = at_most


class Queue:
    """Keys that wait to be worked on. A key that is added while it is being worked on is worked on once more."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[str | None] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._workers = 0
        self._stopped = False

    def __len__(self) -> int:
        """Count the keys that are to be worked on now."""
        return len(self._waiting)

    def add(self, key: str) -> None:
        """Have a key worked on as soon as a worker is free: something has changed, so failures do not count."""
        self._failures.pop(key, None)
        self._add(key)

    def hasten(self) -> None:
        """Have every key tried again now that has failed: what they had in common may have passed."""
        for key in list(self._failures):
            self.add(key)

    async def run(self, work: Work, *, workers: int) -> None:
        """Work on keys, so many at once, until :meth:`stop`, or cancelled."""
        if self._stopped:
            return
        self._workers = workers
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._run(work), name=f"pod worker {number}")

    def stop(self) -> None:
        """Take no more keys; the workers finish those that are to be worked on now."""
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
                self._failures.pop(key, None)
            except Exception as exc:
                delay = self._delay_after(exc, key)
            finally:
                self._working.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._add(key)
            elif delay is not None and not self._stopped:
                self._timers[key] = asyncio.get_running_loop().call_later(delay, self._add, key)

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
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(_SHORTEST_DELAY * 2.0 ** min(failures - 1, 32), getattr(error, "at_most", _LONGEST_DELAY))
        delay = max(delay, getattr(error, "retry_after", None) or 0)
        if isinstance(error, BrokerError):
            log.info("a pod is tried again", pod=key, error=str(error), failures=failures, seconds=round(delay, 3))
        else:
            log.error("a pod is tried again", pod=key, failures=failures, seconds=round(delay, 3), exc_info=error)
        return delay
