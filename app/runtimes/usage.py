"""The usage of a pod, as a runtime measures or computes it, and what it is computed from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from app.core.timestamps import parse_rfc3339
from app.kubernetes.stats import ContainerStats, FsStats
from app.kubernetes.status import PodStatus


class EarlierUsage(NamedTuple):
    """The usage that a pod had until an update changed it.

    Attributes:
        until: the time of the update.
        record: what :meth:`PodUsage.record` returned for it.
    """

    until: datetime
    record: str


class Interval(NamedTuple):
    """The time between two times."""

    start: datetime
    end: datetime


class ReadyHistory:
    """When the pods of one controller on this node were ready. A pod that is being deleted counts as not ready.

    Args:
        intervals: UID → the times during which the pod was ready, in order.

    Attributes:
        times: the times at which the number of ready pods changed, in order.
        counts: the number of ready pods from each of these times on.
        memo: what a runtime computes from this history for one pod and needs for another.
    """

    def __init__(self, intervals: Mapping[str, Sequence[Interval]]) -> None:
        self._intervals = intervals
        changes: dict[datetime, int] = {}
        for of_pod in intervals.values():
            for start, end in of_pod:
                changes[start] = changes.get(start, 0) + 1
                changes[end] = changes.get(end, 0) - 1
        self.times = sorted(changes)
        self.counts = list(accumulate(changes[time] for time in self.times))
        self.memo: dict[Any, Any] = {}

    def of(self, uid: str) -> Sequence[Interval]:
        """Return when a pod was ready."""
        return self._intervals.get(uid, ())


class RunningContainer(NamedTuple):
    """A container that runs.

    Attributes:
        name: its name.
        start_time: `startedAt` of its status.
        started_at: the same as a time.
    """

    name: str
    start_time: str
    started_at: datetime

    @classmethod
    def of(cls, status: PodStatus) -> "tuple[RunningContainer, ...]":
        """Return the containers of every kind that run in a status."""
        return tuple(
            cls(container.name, running.started_at, parse_rfc3339(running.started_at))
            for container in status.all_containers
            if (running := container.state.running)
        )


class UsageLevel(NamedTuple):
    """The usage at a time, of a pod or of several together.

    Attributes:
        nano_cores: CPU in billionths of a core.
        memory_bytes: the working set.
    """

    nano_cores: int
    memory_bytes: int

    @classmethod
    def of(cls, containers: Sequence[ContainerStats]) -> "UsageLevel":
        """Return the usage of containers together."""
        return cls(
            sum(container.cpu.usage_nano_cores for container in containers),
            sum(container.memory.working_set_bytes for container in containers),
        )


class PodUsage(ABC):
    """Reads the usage of one pod. It is kept in the process until the pod is changed, and used by many threads."""

    @property
    def controller(self) -> str | None:
        """The UID of the controller whose :class:`ReadyHistory` is needed; None if none is."""
        return None

    def record(self) -> str | None:
        """Return what is needed to compute this usage once an update has changed it; None if nothing is."""
        return None

    def prepare(self) -> None:  # noqa: B027 - optional: a usage that is computed needs no preparation
        """Begin to measure. Called for many pods before :meth:`containers` is called for the first."""

    @abstractmethod
    def containers(
        self, running: Sequence[RunningContainer], *, at: datetime, history: ReadyHistory | None
    ) -> Sequence[ContainerStats]:
        """Return the usage of the running containers.

        A total never falls while a container runs, and begins at zero with each start. Called for all pods of the
        node in one request, so it must take microseconds rather than milliseconds.

        Args:
            running: the containers that run at the time.
            at: the time, in whole seconds. A runtime that measures ignores it.
            history: of the pods of :attr:`controller`, up to `at`; None if it has none.

        Returns:
            Those of which the usage is known.
        """

    def ephemeral_storage(self) -> FsStats | None:
        """Return the disk space that the pod uses; None if it is unknown. A runtime that measures may keep it."""
        return None

    def process_count(self) -> int | None:
        """Return the number of processes, as of the last call of :meth:`containers`; None if it is unknown."""
        return None

    def levels(
        self, running: Sequence[RunningContainer], times: Sequence[datetime], *, history: ReadyHistory | None
    ) -> Sequence[UsageLevel]:
        """Return the usage of the running containers together at each of several times, for a chart.

        Called for a runtime with `reports_past_usage`.

        Args:
            running: the containers that run at all of these times, at least one.
            times: in order, in whole seconds.
            history: of the pods of :attr:`controller`, up to the last of the times or later.
        """
        return [UsageLevel.of(self.containers(running, at=at, history=history)) for at in times]
