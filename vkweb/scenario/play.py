"""Plays a scenario: carries out each entry of the schedule at its time, and records it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from broker.kubernetes.errors import ApiError
from vkweb.scenario.drain import Drained
from vkweb.scenario.file import AnyStep, Drain, Reclaim, Scenario
from vkweb.scenario.schedule import Entry, KnownNode, Schedule


class Cluster(Protocol):
    """The nodes that a scenario changes; see :class:`vkweb.scenario.actions.Nodes`."""

    async def known(self) -> Mapping[str, KnownNode]:
        """Return the nodes by name."""

    async def apply(self, entry: Entry, step: AnyStep | None) -> Mapping[str, ApiError]:
        """Carry out an entry; return the errors by node."""

    async def drain(self, name: str, step: Drain) -> Drained:
        """Evict the pods of a cordoned node."""


class Outcome(NamedTuple):
    """An entry that was played.

    Attributes:
        entry: the entry.
        errors: node → error.
        drained: node → result, for the end of a drain, whose entry is that of its begin.
    """

    entry: Entry
    errors: Mapping[str, ApiError]
    drained: Mapping[str, Drained] | None = None


Record = Callable[[Outcome], Awaitable[None]]


class Player:
    """Plays a scenario by the clock of the event loop.

    Args:
        scenario: the scenario.
        cluster: its nodes.
        record: is called with each entry that was played, and those that found fewer nodes than their step wants.
        recovers: whether all nodes recover at the end, and when the play is stopped.
    """

    def __init__(self, scenario: Scenario, cluster: Cluster, *, record: Record, recovers: bool = True) -> None:
        self._scenario = scenario
        self._cluster = cluster
        self._record = record
        self._schedule = Schedule(scenario, recovers=recovers)
        self._drains: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Play to the end, or until `stop` is set; then all nodes recover.

        Raises:
            ApiError: the nodes could not be listed; what `record` raises. The nodes recover before.
        """
        start = asyncio.get_running_loop().time()
        try:
            while (at := self._schedule.next_at) is not None and not stop.is_set():
                await _sleep_until(start + at.total_seconds(), stop)
                if not stop.is_set():
                    await self._play(self._schedule.take(await self._cluster.known()))
            if not stop.is_set() and self._drains:
                await self._finish_drains(stop)
        finally:
            for task in self._drains:
                task.cancel()
            if (last := self._schedule.stop()) is not None:
                await self._play(last)

    async def _finish_drains(self, stop: asyncio.Event) -> None:
        """Wait for the drains in progress, or until `stop` is set."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        drains = asyncio.gather(*self._drains)
        waiting: list[asyncio.Future[Any]] = [stopping, drains]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if drains.done():
            drains.result()

    async def _play(self, entry: Entry) -> None:
        if entry.is_empty:
            return
        step = self._scenario.steps[entry.step - 1] if entry.step else None
        errors = await self._cluster.apply(entry, step) if entry.nodes else {}
        await self._record(Outcome(entry, errors))
        drain = _drain_of(entry, step)
        if drain is not None and entry.nodes:
            names = [name for name in entry.nodes if name not in errors]
            task = asyncio.create_task(self._drain(entry, names, drain), name=f"drain of step {entry.step}")
            self._drains.add(task)

    async def _drain(self, entry: Entry, names: list[str], step: Drain) -> None:
        results = await asyncio.gather(
            *(self._cluster.drain(name, step) for name in names), return_exceptions=True
        )
        errors: dict[str, ApiError] = {}
        drained: dict[str, Drained] = {}
        for name, result in zip(names, results, strict=True):
            if isinstance(result, ApiError):
                errors[name] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                drained[name] = result
        await self._record(Outcome(entry, errors, drained))


def _drain_of(entry: Entry, step: AnyStep | None) -> Drain | None:
    """Return the drain that follows an entry; None for most."""
    if isinstance(step, Drain) and entry.action == "drain":
        return step
    if isinstance(step, Reclaim) and step.drain and entry.action == "reclaim":
        return Drain.model_validate({"action": "drain", "at": "0s", "count": 1, "timeout": step.notice})
    return None


async def _sleep_until(time: float, stop: asyncio.Event) -> None:
    """Sleep until a time of the event loop, or until `stop` is set."""
    seconds = time - asyncio.get_running_loop().time()
    if seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
