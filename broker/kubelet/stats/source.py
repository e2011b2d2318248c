"""Reads the usage of all pods from the provider, at most once a second, however many clients ask at the same time.

The CPU time of the node is what its containers have used since the first read, with its part of that of this
process. A pod that leaves takes nothing away, and neither does a node that joins. Where the provider has the
extension `nodeStats`, the usage of the node is that of the provider's machine instead.

A provider without the extension `podStats` has no usage. Each running container then has an entry with its start
time and a usage of 0. metrics-server omits pods without usage, so that `kubectl top node` shows the node, and
`kubectl top pod` none of its pods.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from broker.dependencies import Clock, Dependencies
from broker.errors import ProviderUnavailable
from broker.kubelet.schema import Pods, PodsOfNodes, parse_pod
from broker.kubelet.stats.exposition import epoch_seconds
from broker.kubelet.stats.pods import RunningPod, RunningPods
from broker.kubelet.stats.schema import (
    ContainerStats,
    CPUStats,
    MemoryStats,
    NodeStats,
    PodStats,
    ReportedPod,
    Summary,
)
from broker.kubernetes.objects import to_micro_time, to_time
from broker.pods.pressure import DISK, MEMORY, PIDS, Available, NodeUsage, PodUsage
from broker.provider import ProviderClient
from broker.provider.answer import decode
from broker.single_flight import SingleFlight

_MAX_AGE = timedelta(seconds=1)
_STATM = Path("/proc/self/statm")


class Usage(NamedTuple):
    """Resource usage: CPU time in nanoseconds, memory in bytes."""

    cpu: int = 0
    memory: int = 0

    @classmethod
    def of_this_process(cls) -> "Usage":
        """Return the usage of this process; memory is 0 where the system does not report it."""
        try:
            memory = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            memory = 0
        return cls(time.process_time_ns(), memory)


class Reading(NamedTuple):
    """One read of the provider.

    Attributes:
        at: time of the read.
        pods: the pods with their usage, until the next read; None where the provider reports none.
        machine: usage of the provider's machine; None where it reports none.
    """

    at: datetime
    pods: RunningPods | None
    machine: NodeStats | None


class NodeReading(NamedTuple):
    """The usage of a node and of its pods with running containers."""

    node: NodeStats
    pods: Sequence[RunningPod]


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
        self._pods = RunningPods()
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
        with _checked("/podStats"):
            self._pods.update(body, now)
        return Reading(now, self._pods, machine)

    async def _read_machine(self) -> NodeStats | None:
        body = await self._provider.node_stats()
        if body is None:
            return None
        machine = decode(body, NodeStats, "/nodeStats")
        users: list[NodeStats | ContainerStats] = [machine, *machine.system_containers]
        times = [time for user in users for time in (user.start_time, user.cpu.time, user.memory.time)]
        times += [part.time for part in (machine.fs, machine.rlimit) if part and part.time]
        with _checked("/nodeStats"):
            for text in times:
                epoch_seconds(text)
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
        self._without_usage = RunningPods()
        self._machine: NodeStats | None = None
        self._cpu = 0
        self._process = Usage.of_this_process()
        self._own_cpu = self._process.cpu // nodes()
        self.pods = pods

    async def read(self) -> NodeReading:
        """Return the usage of the node and of its pods with running containers.

        Raises:
            ProviderError: the provider does not answer, or its answer is not usage.
        """
        return (await self._read())[0]

    async def read_reported(self) -> tuple[NodeReading, list[ReportedPod]]:
        """Return the usage, and what was reported of the same pods.

        Raises:
            ProviderError: as :meth:`read`.
        """
        reading, known = await self._read()
        return reading, known.reported(reading.pods)

    async def summary(self) -> Summary:
        """Return the usage as `/stats/summary` has it.

        Raises:
            ProviderError: as :meth:`read`.
        """
        (node, running), reported = await self.read_reported()
        pods = [pod.stats(stats) for pod, stats in zip(running, reported, strict=True)]
        if self._machine is None:
            containers = [container for pod in pods for container in pod.containers]
            node.cpu.usage_nano_cores = sum([part.cpu.usage_nano_cores or 0 for part in containers]) or None
        return Summary(node, pods)

    async def for_eviction(self) -> NodeUsage:
        """Return the usage by which pods are evicted.

        Raises:
            ProviderError: as :meth:`read`.
        """
        return _for_eviction(await self.summary())

    def node_alone(self) -> NodeStats:
        """Return the usage of the node without its pods, or the last of its machine, for when none can be read."""
        return self._node()

    async def _read(self) -> tuple[NodeReading, RunningPods]:
        reading = await self._provider.read()
        known = reading.pods
        if known is None:
            known = self._without_usage
            known.update(msgspec.json.encode([*_without_usage(self.pods.all(), reading.at)]), reading.at)
        pods = known.find(self.pods.uids())
        self._cpu += sum([pod.take_new_cpu() for pod in pods])
        self._machine = reading.machine if self._nodes() == 1 else None
        return NodeReading(self._node(sum([pod.working_set for pod in pods])), pods), known

    def _own(self) -> Usage:
        """Return this node's part of the usage of this process; its CPU time does not fall when nodes join."""
        process, nodes = Usage.of_this_process(), self._nodes()
        self._own_cpu += (process.cpu - self._process.cpu) // nodes
        self._process = process
        return Usage(self._own_cpu, process.memory // nodes)

    def _node(self, memory: int = 0) -> NodeStats:
        now, own = to_micro_time(self._clock()), self._own()
        kubelet = ContainerStats("kubelet", self._started, CPUStats(now, own.cpu), MemoryStats(now, own.memory))
        if self._machine:
            containers = [kubelet, *self._machine.system_containers]
            return replace(self._machine, node_name=self._node_name, system_containers=containers)
        cpu = CPUStats(now, self._cpu + own.cpu)
        return NodeStats(self._node_name, self._started, cpu, MemoryStats(now, memory + own.memory), [kubelet])


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


@contextmanager
def _checked(path: str) -> Iterator[None]:
    """Raise ProviderUnavailable for a value of the provider that is none."""
    try:
        yield
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProviderUnavailable(f"the provider's answer to {path} does not follow the contract: {exc}") from exc
    except ValueError as exc:
        raise ProviderUnavailable(f"the provider's answer to {path} has an invalid time: {exc}") from exc


def _without_usage(pods: Iterable[bytes], at: datetime) -> Iterator[ReportedPod]:
    now = to_micro_time(at)
    for pod in map(parse_pod, pods):
        containers = tuple(
            ContainerStats(
                status.name, to_time(status.state.running.started_at or at), CPUStats(now, 0), MemoryStats(now, 0)
            )
            for status in pod.container_statuses()
            if status.state.running
        )
        if containers:
            started = pod.status.start_time
            first = min(container.start_time for container in containers)
            yield ReportedPod(pod.metadata, to_time(started) if started else first, containers)


def _for_eviction(usage: Summary) -> NodeUsage:
    return NodeUsage(
        usage.node.memory.working_set_bytes,
        {pod.pod_ref.uid: _of_pod(pod) for pod in usage.pods},
        dict(_of_machine(usage.node)),
    )


def _of_pod(pod: PodStats) -> PodUsage:
    return PodUsage(
        {
            MEMORY: pod.memory.working_set_bytes,
            DISK: pod.ephemeral_storage.used_bytes if pod.ephemeral_storage else None,
            PIDS: pod.process_stats.process_count if pod.process_stats else None,
        },
        {container.name: container.memory.working_set_bytes for container in pod.containers},
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
