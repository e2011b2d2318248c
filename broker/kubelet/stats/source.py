"""Reads the usage of all pods from the provider, at most once a second, however many clients ask at the same time.

Three rules make the values usable as counters:

* The CPU time of a container never falls while the container runs; a restarted container, which has another start
  time, begins at zero.
* The CPU time of a pod is what its containers have used since the first read, those that have ended included: the
  sum over the running ones falls when a container ends.
* So is that of the node, with the CPU time of this process. A pod that leaves takes nothing away.

Where the provider has the extension `nodeStats`, the usage of the node is that of the provider's machine instead.

A provider without the extension `podStats` has no usage. Each running container then has an entry with its start
time and a usage of 0. metrics-server omits pods without usage, so that `kubectl top node` shows the node, and
`kubectl top pod` none of its pods.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from broker.dependencies import Clock, Dependencies
from broker.errors import ProviderUnavailable
from broker.kubelet.schema import Pod, Pods, PodsOfNodes, parse_pod
from broker.kubelet.stats.exposition import epoch_seconds
from broker.kubelet.stats.schema import (
    ContainerStats,
    CPUStats,
    FsStats,
    MemoryStats,
    NetworkStats,
    NodeStats,
    PodStats,
    RlimitStats,
    Summary,
)
from broker.kubernetes.objects import to_micro_time, to_time
from broker.pods.pressure import DISK, MEMORY, PIDS, Available, NodeUsage, PodUsage
from broker.provider import ProviderClient
from broker.provider_answer import decode
from broker.single_flight import SingleFlight

_MAX_AGE = timedelta(seconds=1)
_STATM = Path("/proc/self/statm")
_User = NodeStats | PodStats | ContainerStats


class Usage(NamedTuple):
    """Resource usage: CPU time in nanoseconds, memory in bytes."""

    cpu: int = 0
    memory: int = 0

    @classmethod
    def of_this_process(cls, nodes: int = 1) -> "Usage":
        """Return a node's part of the usage of this process; memory is 0 where the system does not report it."""
        try:
            memory = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            memory = 0
        return cls(time.process_time_ns() // nodes, memory // nodes)


class Reading(NamedTuple):
    """One read of the provider.

    Attributes:
        at: time of the read.
        pods: UID → usage; None where the provider reports none.
        machine: usage of the provider's machine; None where it reports none.
    """

    at: datetime
    pods: dict[str, PodStats] | None
    machine: NodeStats | None


class ProviderUsage:
    """The usage of all pods at the provider, read at most once a second.

    Args:
        provider: client of the provider.
        clock: returns the current time.
    """

    def __init__(self, provider: ProviderClient, *, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock
        self._reading = SingleFlight(self._read)
        self._last: Reading | None = None

    async def read(self) -> Reading:
        """Return the usage, not older than a second.

        Raises:
            ProviderError: the provider does not answer, or its answer is not usage.
        """
        last = self._last
        if last is None or not timedelta() <= self._clock() - last.at < _MAX_AGE:
            last = self._last = await self._reading.result()
        return last

    async def _read(self) -> Reading:
        now, body = self._clock(), await self._provider.pod_stats()
        machine = await self._read_machine()
        if body is None:
            return Reading(now, None, machine)
        return Reading(now, {pod.pod_ref.uid: pod for pod in decode(body, list[PodStats], "/podStats")}, machine)

    async def _read_machine(self) -> NodeStats | None:
        body = await self._provider.node_stats()
        if body is None:
            return None
        machine = decode(body, NodeStats, "/nodeStats")
        _check_times(_times([machine, *machine.system_containers], [machine.fs, machine.rlimit]), "/nodeStats")
        return machine


class UsageSource:
    """The usage of the pods that Kubernetes has on one node.

    Args:
        provider: the usage of all pods.
        pods: the pods of the node.
        node_name: name of the node.
        clock: returns the current time.
        nodes: returns the number of nodes of this process, which divide its usage. The provider's machine is that
            of the node only if there is one.

    Attributes:
        pods: the pods of the node.
    """

    def __init__(
        self,
        provider: ProviderUsage,
        pods: Pods,
        *,
        node_name: str,
        clock: Clock,
        nodes: Callable[[], int] = lambda: 1,
    ) -> None:
        self._provider = provider
        self._node_name = node_name
        self._clock = clock
        self._nodes = nodes
        self._started = to_time(clock())
        self._reading: Reading | None = None
        self._stats: list[PodStats] = []
        self._machine: NodeStats | None = None
        self._last: dict[str, PodStats] = {}
        """UID → usage at the last read."""
        self._cpu = 0
        self.pods = pods

    async def summary(self) -> Summary:
        """Return the usage of the node and of its pods with running containers.

        Raises:
            ProviderError: the provider does not answer, or its answer is not usage.
        """
        pods = await self._read()
        return Summary(self._node(pods), pods)

    async def for_eviction(self) -> NodeUsage:
        """Return the usage by which pods are evicted.

        Raises:
            ProviderError: as :meth:`summary`.
        """
        return _for_eviction(await self.summary())

    def node_alone(self) -> NodeStats:
        """Return the usage of the node without its pods, or the last of its machine, for when none can be read."""
        return self._node(())

    async def _read(self) -> list[PodStats]:
        reading = await self._provider.read()
        if reading is self._reading:
            return self._stats
        if reading.pods is None:
            self._stats = list(_without_usage(map(parse_pod, self.pods.all()), reading.at))
        else:
            stats = [reading.pods[uid] for uid in self.pods.uids() if uid in reading.pods]
            _check_times(_times_of_pods(stats), "/podStats")
            self._add_up(stats, since=self._reading.at if self._reading else reading.at)
            self._stats = stats
        self._machine = reading.machine if self._nodes() == 1 else None
        self._reading = reading
        return self._stats

    def _add_up(self, stats: Sequence[PodStats], *, since: datetime) -> None:
        """Replace the totals of the pods that were read by totals that do not fall.

        Args:
            stats: the pods.
            since: the time of the last read; what a container that is new here has used before does not count for
                the node, or its total would leap.
        """
        last_read = since.timestamp()
        for pod in stats:
            used = unknown = 0
            last = self._last.get(pod.pod_ref.uid)
            containers = {container.name: container for container in last.containers} if last else {}
            for container in pod.containers:
                cpu, before = container.cpu, containers.get(container.name)
                if before and before.start_time == container.start_time:
                    grown = cpu.usage_core_nano_seconds - before.cpu.usage_core_nano_seconds
                    if grown < 0:
                        cpu.usage_core_nano_seconds -= grown
                    used += max(grown, 0)
                else:
                    used += cpu.usage_core_nano_seconds
                    if epoch_seconds(container.start_time) < last_read:
                        unknown += cpu.usage_core_nano_seconds
            pod.cpu.usage_core_nano_seconds = used + (last.cpu.usage_core_nano_seconds if last else 0)
            self._cpu += used - unknown
        self._last = {pod.pod_ref.uid: pod for pod in stats}

    def _node(self, pods: Sequence[PodStats]) -> NodeStats:
        now, own = to_micro_time(self._clock()), Usage.of_this_process(self._nodes())
        kubelet = ContainerStats("kubelet", self._started, CPUStats(now, own.cpu), MemoryStats(now, own.memory))
        if self._machine:
            containers = [kubelet, *self._machine.system_containers]
            return replace(self._machine, node_name=self._node_name, system_containers=containers)
        cores = sum([pod.cpu.usage_nano_cores or 0 for pod in pods])
        cpu = CPUStats(now, self._cpu + own.cpu, cores or None)
        memory = MemoryStats(now, sum([pod.memory.working_set_bytes for pod in pods], own.memory))
        return NodeStats(self._node_name, self._started, cpu, memory, [kubelet])


class UsageSources:
    """The :class:`UsageSource` of each node.

    Args:
        dependencies: of the broker.
        pods: the pods of the nodes.
    """

    def __init__(self, dependencies: Dependencies, pods: PodsOfNodes) -> None:
        self._nodes = dependencies.nodes
        self._clock = dependencies.clock
        self._pods = pods
        self._provider = ProviderUsage(dependencies.provider, clock=dependencies.clock)
        self._by_node: dict[str, UsageSource] = {}

    def of(self, name: str) -> UsageSource:
        """Return the usage of a node."""
        if name not in self._by_node:
            self._by_node[name] = UsageSource(
                self._provider,
                self._pods.on(name),
                node_name=name,
                clock=self._clock,
                nodes=lambda: max(len(self._nodes), 1),
            )
        return self._by_node[name]


def _times(users: Sequence[_User], parts: Iterable[NetworkStats | FsStats | RlimitStats | None]) -> set[str]:
    """Return the different times in usage: few, where many values are measured at one time."""
    times = {user.start_time for user in users}
    times.update(
        [user.cpu.time for user in users],
        [user.memory.time for user in users],
        [part.time for part in parts if part and part.time],
    )
    return times


def _times_of_pods(pods: Sequence[PodStats]) -> set[str]:
    containers = chain.from_iterable([pod.containers for pod in pods])
    return _times(
        [*pods, *containers], chain.from_iterable([(pod.network, pod.ephemeral_storage) for pod in pods])
    )


def _check_times(times: Iterable[str], path: str) -> None:
    """Raise ProviderUnavailable if a time of the provider is none."""
    try:
        for text in times:
            epoch_seconds(text)
    except ValueError as exc:
        raise ProviderUnavailable(f"the provider's answer to {path} has an invalid time: {exc}") from exc


def _without_usage(pods: Iterable[Pod], at: datetime) -> Iterator[PodStats]:
    now = to_micro_time(at)
    cpu, memory = CPUStats(now, 0), MemoryStats(now, 0)
    for pod in pods:
        containers = [
            ContainerStats(status.name, to_time(status.state.running.started_at or at), cpu, memory)
            for status in pod.container_statuses()
            if status.state.running
        ]
        if containers:
            started = pod.status.start_time
            first = min(container.start_time for container in containers)
            yield PodStats(pod.metadata, to_time(started) if started else first, containers, cpu, memory)


def _for_eviction(summary: Summary) -> NodeUsage:
    node = summary.node
    return NodeUsage(
        node.memory.working_set_bytes,
        {
            pod.pod_ref.uid: PodUsage(
                {
                    MEMORY: pod.memory.working_set_bytes,
                    DISK: pod.ephemeral_storage.used_bytes if pod.ephemeral_storage else None,
                    PIDS: pod.process_stats.process_count if pod.process_stats else None,
                },
                {container.name: container.memory.working_set_bytes for container in pod.containers},
            )
            for pod in summary.pods
        },
        dict(_of_machine(node)),
    )


def _of_machine(node: NodeStats) -> Iterator[tuple[str, Available]]:
    """Yield what is available on the machine of the provider: resource, and amount; as a kubelet computes it."""
    memory, fs, rlimit = node.memory, node.fs, node.rlimit
    if memory.available_bytes is not None:
        yield MEMORY, Available(memory.available_bytes, memory.available_bytes + memory.working_set_bytes)
    if fs and fs.available_bytes is not None and fs.capacity_bytes is not None:
        yield DISK, Available(fs.available_bytes, fs.capacity_bytes)
    if rlimit and rlimit.max_pid is not None and rlimit.tasks is not None:
        yield PIDS, Available(rlimit.max_pid - rlimit.tasks, rlimit.max_pid)
