"""Compute the usage of a simulated pod from its running containers and the time."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from app.core.timestamps import rfc3339
from app.kubernetes.pod import Pod
from app.kubernetes.stats import ContainerStats, CPUStats, MemoryStats
from app.runtimes.synthetic.annotations import NO_OVERRIDES, parse_annotations
from app.runtimes.synthetic.usage.container import ContainerUsage, container_usage
from app.runtimes.synthetic.usage.defaults import UsageDefaults
from app.runtimes.synthetic.usage.share import share_at, shared_core_seconds
from app.runtimes.usage import EarlierUsage, Interval, PodUsage, ReadyHistory, RunningContainer, UsageLevel

_Usages = Mapping[str, ContainerUsage]
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(dict[str, ContainerUsage])
_NO_HISTORY = ReadyHistory({})


class SyntheticUsage(PodUsage):
    """Computes the usage of a simulated pod.

    Args:
        containers: container name → usage.
        earlier: the same until each update that changed it, in order.
        controller: the UID of the pod's controller; None without one.
    """

    def __init__(
        self,
        uid: str,
        containers: _Usages,
        *,
        earlier: Sequence[tuple[datetime, _Usages]] = (),
        controller: str | None = None,
    ) -> None:
        self._uid = uid
        self._containers = containers
        self._earlier = earlier
        self._constant = {
            name: (usage.level(0), usage.cores(0))
            for name, usage in containers.items()
            if usage.is_constant and not earlier
        }
        """Container name → its usage and its cores, where they are the same at all times."""
        has_share = any(
            usage.cpu.share for usages in (containers, *(u for _, u in earlier)) for usage in usages.values()
        )
        # A pod without a controller has the whole load; its own history is found by its UID.
        self._controller = (controller or uid) if has_share else None

    @property
    def controller(self) -> str | None:
        """The UID of the controller among whose pods a load of this pod is divided."""
        return self._controller

    def record(self) -> str:
        """Return the usage of the containers as JSON."""
        return _ENCODER.encode(self._containers).decode()

    def containers(
        self, running: Sequence[RunningContainer], *, at: datetime, history: ReadyHistory | None
    ) -> list[ContainerStats]:
        """Return the usage of the containers."""
        return [
            self._container(container, at=at, history=history or _NO_HISTORY)
            for container in running
            if container.name in self._containers
        ]

    def levels(
        self, running: Sequence[RunningContainer], times: Sequence[datetime], *, history: ReadyHistory | None
    ) -> list[UsageLevel]:
        """Return the usage of the containers, without the totals."""
        known = [container for container in running if container.name in self._containers]
        if all(container.name in self._constant for container in known):
            return [self._level(known, times[0], _NO_HISTORY)] * len(times)
        return [self._level(known, at, history or _NO_HISTORY) for at in times]

    def _level(self, running: Sequence[RunningContainer], at: datetime, history: ReadyHistory) -> UsageLevel:
        nano_cores = memory_bytes = 0
        for name, _, started_at in running:
            usage = self._usage_at(name, at)
            elapsed = max((at - started_at).total_seconds(), 0.0)
            level = usage.level(elapsed, share=share_at(usage, history, self._uid, at))
            nano_cores += level.nano_cores
            memory_bytes += level.memory_bytes
        return UsageLevel(nano_cores, memory_bytes)

    def _usage_at(self, name: str, at: datetime) -> ContainerUsage:
        for until, usages in self._earlier:
            if at < until and name in usages:
                return usages[name]
        return self._containers[name]

    def _container(self, container: RunningContainer, *, at: datetime, history: ReadyHistory) -> ContainerStats:
        name, start_time, started_at = container
        time, until = rfc3339(at), max(at, started_at)
        elapsed = (until - started_at).total_seconds()
        if name in self._constant:
            (nano_cores, memory), cores = self._constant[name]
            total = cores * elapsed
        else:
            usages = list(self._usages(name, Interval(started_at, until)))
            usage = usages[-1][1]
            nano_cores, memory = usage.level(elapsed, share=share_at(usage, history, self._uid, until))
            total = sum([self._core_seconds(usage, history, started_at, within) for within, usage in usages])
        return ContainerStats(
            name,
            start_time,
            CPUStats(time, nano_cores, _nanoseconds(total)),
            MemoryStats(time, memory, memory, memory),
        )

    def _usages(self, name: str, run: Interval) -> Iterator[tuple[Interval, ContainerUsage]]:
        """Yield the usages of a container during a run, each with the time during which it held."""
        since = run.start
        for until, usages in self._earlier:
            if since < until and name in usages:
                yield Interval(since, min(until, run.end)), usages[name]
                since = until
            if until > run.end:
                return
        yield Interval(since, run.end), self._containers[name]

    def _core_seconds(
        self, usage: ContainerUsage, history: ReadyHistory, started_at: datetime, within: Interval
    ) -> float:
        if usage.cpu.share:
            return shared_core_seconds(usage, history, self._uid, started_at=started_at, within=within)
        start, end = ((time - started_at).total_seconds() for time in within)
        return usage.core_seconds(start, end)


def _nanoseconds(core_seconds: float) -> int:
    """Return a total in nanoseconds, to the microsecond as from a cgroup: rounding errors cannot make it fall.

    Clients read it as an integer of 64 bits; it ends at half of that, after 292 years of a core.
    """
    return min(round(core_seconds * 1e6) * 1000, 2**63 - 1)


def usage_of(pod: Pod, earlier: Sequence[EarlierUsage] = (), *, defaults: UsageDefaults) -> SyntheticUsage:
    """Return what computes the usage of a pod."""
    overrides = parse_annotations(pod).containers
    return SyntheticUsage(
        pod.metadata.uid or "",
        {
            container.name: container_usage(
                container, overrides.get(container.name, NO_OVERRIDES), pod, defaults=defaults
            )
            for container in pod.spec.all_containers
        },
        earlier=[(until, _DECODER.decode(record)) for until, record in earlier],
        controller=pod.metadata.controller_uid,
    )
