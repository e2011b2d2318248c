"""The work queue, with simulated time (looptime)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.errors import BrokerError
from broker.kubernetes.errors import TooManyRequests
from broker.pods.workqueue import RetryLater, Work, WorkQueue

pytestmark = pytest.mark.looptime


class Recorder:
    """Work that records its times and returns or raises scripted outcomes."""

    def __init__(self, *outcomes: Exception | float | None) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []
        self.keys: list[str] = []

    async def __call__(self, key: str) -> float | None:
        self.times.append(asyncio.get_running_loop().time())
        self.keys.append(key)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def pauses(self) -> list[float]:
        """Seconds between one time and the next."""
        return [round(after - before, 3) for before, after in zip(self.times, self.times[1:], strict=False)]


@asynccontextmanager
async def working(queue: WorkQueue, work: Work, *, workers: int = 4) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(work, workers=workers))
    try:
        yield
    finally:
        queue.stop()
        await task


async def test_a_failed_key_is_retried_with_doubling_delays() -> None:
    queue, work = WorkQueue(), Recorder(*[BrokerError("not yet")] * 20)
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(3000)
    assert work.pauses[:5] == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert work.pauses[-2:] == [300, 300]
    assert len(work.times) == 21


async def test_2000_failures_keep_the_longest_delay() -> None:
    queue, work = WorkQueue(), Recorder(*[BrokerError("not yet")] * 2000)
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(2000 * 300)
    assert len(work.times) == 2001
    assert set(work.pauses[20:]) == {300}


async def test_an_unexpected_exception_is_retried() -> None:
    queue, work = WorkQueue(), Recorder(KeyError("metadata"))
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(1)
    assert work.pauses == [0.005]


async def test_adding_a_key_resets_its_delay() -> None:
    queue, work = WorkQueue(), Recorder(*[BrokerError("not yet")] * 20)
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(60)
        tries = len(work.times)
        queue.add("a")
        await asyncio.sleep(0.006)
    assert work.times[tries] == pytest.approx(60)
    assert work.pauses[tries] == 0.005


async def test_a_success_resets_the_delay() -> None:
    queue, work = WorkQueue(), Recorder(BrokerError("a"), BrokerError("b"), 1.0, BrokerError("c"))
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(10)
    assert work.pauses == [0.005, 0.01, 1, 0.005]


async def test_retry_after_is_observed() -> None:
    error = TooManyRequests(429, "TooManyRequests", "busy", retry_after=7)
    queue, work = WorkQueue(), Recorder(error)
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(10)
    assert work.pauses == [7]


async def test_retry_later_limits_the_delay() -> None:
    queue, work = WorkQueue(), Recorder(*[RetryLater("no ConfigMap", at_most=10)] * 20)
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(100)
    assert max(work.pauses) == 10


@pytest.mark.parametrize(("keys", "retried"), [(None, ["a", "b"]), (["b", "c"], ["b"])], ids=["all", "some"])
async def test_retry_failed_retries_keys_that_have_failed(keys: list[str] | None, retried: list[str]) -> None:
    queue, work = WorkQueue(), Recorder(*[BrokerError("down")] * 40)
    queue.add("a")
    queue.add("b")
    async with working(queue, work):
        await asyncio.sleep(100)
        tries = len(work.keys)
        queue.retry_failed(keys)
        await asyncio.sleep(0.001)
    assert sorted(work.keys[tries:]) == retried


class Gate:
    """Work that blocks until the gate is opened."""

    def __init__(self) -> None:
        self.under_way: list[str] = []
        self.done: list[str] = []
        self._opened = asyncio.Event()

    async def __call__(self, key: str) -> float | None:
        self.under_way.append(key)
        await self._opened.wait()
        self.under_way.remove(key)
        self.done.append(key)
        return None

    def open(self) -> None:
        self._opened.set()


async def test_a_key_added_during_its_work_is_repeated() -> None:
    queue, gate = WorkQueue(), Gate()
    queue.add("a")
    async with working(queue, gate):
        await asyncio.sleep(0.001)
        for _ in range(3):
            queue.add("a")
        await asyncio.sleep(1)
        assert gate.under_way == ["a"]
        gate.open()
        await asyncio.sleep(1)
    assert gate.done == ["a", "a"]


async def test_concurrency_equals_the_number_of_workers() -> None:
    queue, gate = WorkQueue(), Gate()
    for number in range(10):
        queue.add(f"key-{number}")
    async with working(queue, gate, workers=4):
        await asyncio.sleep(1)
        assert len(gate.under_way) == 4
        assert len(queue) == 6
        gate.open()
    assert len(gate.done) == 10


async def test_a_stop_completes_queued_keys_only() -> None:
    queue, work = WorkQueue(), Recorder(5.0)
    queue.add("a")
    async with working(queue, work):
        await asyncio.sleep(1)
        queue.add("b")
        queue.stop()
        queue.add("c")
        await asyncio.sleep(100)
    assert work.keys == ["a", "b"]
