"""The schedule of a scenario: which nodes have which fault at which time, computed without I/O.

The times of a step with a rate are those of a Poisson process: the gaps are exponentially distributed, and depend
on the seed and the number of the step alone. At each time, the nodes are chosen that come first in an order that
depends on the seed, the step, the occurrence and the names of the nodes (rendezvous hashing). So the same seed and
the same nodes give the same entries, and a node that an autoscaler has added or removed in the meantime changes
the choice only where it is chosen itself.

A node that has a fault is not chosen again for a fault of the same group until it has recovered.
"""

import heapq
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import count
from random import Random
from typing import Literal, NamedTuple

from broker.faults import fraction
from vkweb.scenario.file import GROUPS, AnyStep, Fault, Group, Reclaim, Recover, Scenario, Vanish

Happening = Literal[
    "notReady", "partition", "vanish", "reclaim", "reclaimed", "drain", "pressure", "slow", "fail", "recover"
]


class KnownNode(NamedTuple):
    """A node of the cluster.

    Attributes:
        pool: name of its pool; empty without one.
        groups: groups of the faults that it has, by its annotations.
        has_vanished: whether a scenario has deleted its Node: all that it can do is recover.
    """

    pool: str = ""
    groups: frozenset[Group] = frozenset()
    has_vanished: bool = False


class Entry(NamedTuple):
    """An entry of the schedule.

    Attributes:
        at: time from the start of the scenario.
        step: number of the step in the file, from 1; 0 for the recovery at the end.
        action: the action; `reclaimed` is the end of the notice of `reclaim`.
        nodes: names of the nodes, sorted.
        groups: groups of the faults that `recover` ends.
        skipped: node → reason, for the nodes that the step names and that were not chosen.
        missing: number of nodes that the step wants and that were not found.
    """

    at: timedelta
    step: int
    action: Happening
    nodes: tuple[str, ...]
    groups: frozenset[Group] = frozenset()
    skipped: Mapping[str, str] = {}
    missing: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing to tell."""
        return not (self.nodes or self.skipped or self.missing)


class _Due(NamedTuple):
    """A point of the schedule; points of one time are played in the order in which they were added."""

    at: timedelta
    order: int
    step: int
    occurrence: int
    action: Happening
    faults: Mapping[str, int] | None = None
    """Node → number of the fault that the point follows; None for an occurrence of a step."""


class Schedule:
    """The entries of a scenario in the order of their times.

    Args:
        scenario: the scenario.
        recovers: whether all nodes recover at the end.
    """

    def __init__(self, scenario: Scenario, *, recovers: bool = True) -> None:
        self._scenario = scenario
        self._recovers = recovers
        self._order = count()
        self._faults = count(1)
        self._active: dict[tuple[str, Group], int] = {}
        self._gone: set[str] = set()
        """The nodes that the scenario has deleted: they can have no other fault until they recover."""
        self._pools: dict[str, str] = {}
        self._due: list[_Due] = []
        self._times = [_times(step, scenario, number) for number, step in enumerate(scenario.steps, 1)]
        self._last = timedelta(0)
        self._ended = False
        for number in range(1, len(scenario.steps) + 1):
            self._add_occurrence(number, 0)

    @property
    def next_at(self) -> timedelta | None:
        """The time of the next entry; None after the last one."""
        if self._due and not self._is_over(self._due[0].at):
            return self._due[0].at
        if self._ended:
            return None
        return self._scenario.duration if self._scenario.duration is not None else self._last

    def take(self, nodes: Mapping[str, KnownNode]) -> Entry:
        """Remove the next entry and choose its nodes.

        Args:
            nodes: name → the nodes of the cluster at this time.
        """
        at = self.next_at
        if at is None:
            raise IndexError("the schedule is empty")
        self._last = at
        if not self._due or self._is_over(self._due[0].at):
            self._ended = True
            return self._end(at)
        due = heapq.heappop(self._due)
        if due.faults is not None:
            return self._follow(due, due.faults)
        self._add_occurrence(due.step, due.occurrence + 1)
        step = self._scenario.steps[due.step - 1]
        entry = self._choose(step, due, nodes)
        if isinstance(step, Recover):
            for name in entry.nodes:
                for group in step.groups:
                    self._recover(name, group)
        else:
            self._begin(step, due, entry.nodes, nodes)
        return entry

    def stop(self) -> Entry | None:
        """End the schedule early; return the recovery of all nodes, None where no node is to recover."""
        at = self._last
        self._due.clear()
        self._ended = True
        entry = self._end(at)
        return entry if entry.nodes else None

    def _is_over(self, at: timedelta) -> bool:
        return self._scenario.duration is not None and at > self._scenario.duration

    def _add_occurrence(self, number: int, occurrence: int) -> None:
        at = next(self._times[number - 1], None)
        if at is not None:
            action = self._scenario.steps[number - 1].action
            heapq.heappush(self._due, _Due(at, next(self._order), number, occurrence, action))

    def _begin(self, step: Fault, due: _Due, chosen: Sequence[str], nodes: Mapping[str, KnownNode]) -> None:
        """Record the faults of an occurrence and add the points that follow from them."""
        group = GROUPS[due.action]
        faults = {name: next(self._faults) for name in chosen}
        self._active.update({(name, group): fault for name, fault in faults.items()})
        self._pools.update({name: nodes[name].pool for name in chosen if name in nodes})
        if not chosen:
            return
        if isinstance(step, Vanish):
            self._gone.update(chosen)
        if isinstance(step, Reclaim):
            self._add_follower(due, due.at + step.notice, "reclaimed", faults)
        if step.for_ is not None:
            self._add_follower(due, due.at + step.for_, "recover", faults)

    def _add_follower(self, due: _Due, at: timedelta, action: Happening, faults: Mapping[str, int]) -> None:
        heapq.heappush(self._due, _Due(at, next(self._order), due.step, due.occurrence, action, faults))

    def _follow(self, due: _Due, faults: Mapping[str, int]) -> Entry:
        """Return the entry of a point that follows from faults, for the nodes that still have them."""
        step = self._scenario.steps[due.step - 1]
        group = GROUPS[step.action]
        chosen = [name for name, fault in faults.items() if self._active.get((name, group)) == fault]
        if due.action == "recover":
            for name in chosen:
                self._recover(name, group)
            return Entry(due.at, due.step, "recover", _sorted(chosen), frozenset({group}))
        if isinstance(step, Reclaim) and step.then == "vanish":
            self._gone.update(chosen)
        return Entry(due.at, due.step, due.action, _sorted(chosen))

    def _recover(self, name: str, group: Group) -> None:
        self._active.pop((name, group), None)
        if group == "node":
            self._gone.discard(name)

    def _end(self, at: timedelta) -> Entry:
        names = {name for name, _ in self._active} if self._recovers else set()
        self._active.clear()
        groups = frozenset(GROUPS.values())
        return Entry(at, 0, "recover", _sorted(names), groups)

    def _choose(self, step: AnyStep, due: _Due, nodes: Mapping[str, KnownNode]) -> Entry:
        """Return the entry of an occurrence of a step; its nodes are sorted by name."""
        groups = {name: set(known.groups) for name, known in nodes.items()}
        for name, group in self._active:
            groups.setdefault(name, set()).add(group)
        pools = {name: known.pool for name, known in nodes.items()} | {
            name: pool for name, pool in self._pools.items() if name not in nodes and name in groups
        }
        pool = [name for name in groups if step.pool in (None, pools.get(name, ""))]
        gone = self._gone | {name for name, known in nodes.items() if known.has_vanished}
        of_step = step.groups if isinstance(step, Recover) else frozenset[Group]()
        if isinstance(step, Recover):
            able = [name for name in pool if groups[name] & step.groups]
        else:
            able = [name for name in pool if GROUPS[step.action] not in groups[name] and name not in gone]
        if step.nodes is not None:
            chosen = set(step.nodes) & set(able)
            skipped = {
                name: "it has vanished" if name in gone else _reason(step, name in groups)
                for name in step.nodes
                if name not in chosen
            }
            return Entry(due.at, due.step, due.action, _sorted(chosen), of_step, skipped)
        wanted = len(able) if step.count is None and step.share is None else step.count or 0
        if step.share is not None:
            wanted = max(1, math.floor(len(pool) * step.share + 0.5))
        seed = (str(self._scenario.seed), str(due.step), str(due.occurrence))
        order = sorted(able, key=lambda name: (fraction(*seed, name), name))
        missing = max(wanted - len(able), 0)
        return Entry(due.at, due.step, due.action, _sorted(order[:wanted]), of_step, missing=missing)


def dry_run(scenario: Scenario, nodes: Mapping[str, KnownNode], *, recovers: bool = True) -> Iterator[Entry]:
    """Yield the entries of a scenario for nodes that change by its faults only."""
    schedule = Schedule(scenario, recovers=recovers)
    while schedule.next_at is not None:
        yield schedule.take(nodes)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=natural))


def _reason(step: AnyStep, is_known: bool) -> str:
    """Return why a node that a step names was not chosen."""
    if not is_known:
        return "there is no such node"
    if isinstance(step, Recover):
        return "it has no such fault"
    return {"node": "it is down", "pressure": "it is under pressure", "slow": "it is slow"}.get(
        GROUPS[step.action], "its pods fail already"
    )


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts numbers in names by their value: `spot-2` before `spot-10`."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name) if part)


def _times(step: AnyStep, scenario: Scenario, number: int) -> Iterator[timedelta]:
    """Yield the times of a step."""
    if step.at is not None:
        yield step.at
        return
    end = step.until if step.until is not None else scenario.duration
    if step.rate is None or end is None:
        return
    random = Random(f"{scenario.seed}/{number}")  # noqa: S311 - a simulation
    at = step.from_
    while (at := at + step.rate * random.expovariate(1)) < end:
        yield timedelta(milliseconds=round(at / timedelta(milliseconds=1)))
