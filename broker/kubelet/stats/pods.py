"""The pods of a node with the usage of their containers, from one read of the provider to the next.

Two rules make the values usable as counters:

* The CPU time of a container never falls while the container runs; a restarted container, which has another start
  time, begins at zero.
* The CPU time of a pod is what its containers have used since the first read, those that have ended included: the
  sum over the running ones falls when a container ends.

What scrapes repeat is kept as text: labels and start time until a container restarts, values until the next read.
"""

from collections.abc import Sequence

from broker.kubelet.stats.exposition import epoch_seconds, epoch_text, labels, milliseconds
from broker.kubelet.stats.schema import ContainerStats, CPUStats, MemoryStats, NodeStats, PodStats, ReportedPod
from broker.types import PodReference


class Timestamps(dict[str, str]):
    """Time → timestamp of a sample, of the times of one read: few, where many values are measured at one time."""

    def __missing__(self, time: str) -> str:
        """Convert a time.

        Raises:
            ValueError: it is none.
        """
        timestamp = self[time] = milliseconds(time)
        return timestamp


class Samples:
    """Text of the samples of the node, a pod or a container.

    Args:
        labels: labels in `/metrics/resource`, as in a sample; empty for none.
        start_time: start time.

    Attributes:
        labels: the labels in braces, and a space.
        start: start time.
        cpu: CPU time and its timestamp.
        memory: working set and its timestamp.
    """

    __slots__ = ("cpu", "labels", "memory", "start")

    def __init__(self, labels: str, start_time: str) -> None:
        self.labels = f"{{{labels}}} " if labels else " "
        self.start = epoch_text(start_time)
        self.cpu = self.memory = ""


class RunningContainer(Samples):
    """A container since its start.

    Attributes:
        stats: its usage at the last read.
    """

    __slots__ = ("stats",)

    def __init__(self, stats: ContainerStats, pod: PodReference) -> None:
        super().__init__(labels(container=stats.name, namespace=pod.namespace, pod=pod.name), stats.start_time)
        self.stats = stats


class RunningPod(Samples):
    """A pod with running containers.

    Args:
        reported: its usage at the first read.

    Attributes:
        reported: its usage at the last read.
        containers: name → container.
        cores: CPU that its containers use, in billionths of a core.
        cpu_total: CPU time of its containers since the first read, in core-nanoseconds.
        cpu_time: the time of the total.
        memory_stats: memory of its containers together.
    """

    __slots__ = ("containers", "cores", "cpu_time", "cpu_total", "memory_stats", "reported")

    def __init__(self, reported: ReportedPod) -> None:
        ref = reported.pod_ref
        super().__init__(labels(namespace=ref.namespace, pod=ref.name), reported.start_time)
        self.reported = reported
        self.containers: dict[str, RunningContainer] = {}
        self.cores = self.cpu_total = 0

    def update(self, reported: ReportedPod, timestamps: Timestamps, *, since: float) -> int:
        """Take over the usage that was read, and return the CPU time that is new for the node.

        Args:
            reported: the usage. A total that has fallen is replaced by the last one.
            timestamps: of the read.
            since: the time of the last read; what a container that is new here has used before does not count for
                the node, or its total would leap.

        Raises:
            ValueError: a time is none.
        """
        if reported.start_time != self.reported.start_time:
            self.start = epoch_text(reported.start_time)
        for part in (reported.network, reported.ephemeral_storage):
            if part and part.time:
                timestamps[part.time]
        new = cores = 0
        known, parts = self.containers, reported.containers
        for stats in parts:
            cpu, memory, container = stats.cpu, stats.memory, known.get(stats.name)
            cpu_at, memory_at = timestamps[cpu.time], timestamps[memory.time]
            grown = cpu.usage_core_nano_seconds
            if container and container.stats.start_time == stats.start_time:
                grown -= container.stats.cpu.usage_core_nano_seconds
                if grown < 0:
                    cpu.usage_core_nano_seconds -= grown
                    grown = 0
                container.stats = stats
                new += grown
            else:
                container = known[stats.name] = RunningContainer(stats, reported.pod_ref)
                if epoch_seconds(stats.start_time) >= since:
                    new += grown
            container.cpu = self.cpu = f"{cpu.usage_core_nano_seconds}e-9 {cpu_at}"
            container.memory = self.memory = f"{memory.working_set_bytes} {memory_at}"
            self.cpu_total += grown
            cores += cpu.usage_nano_cores or 0
        self.cores = cores
        if len(known) > len(parts):  # some have ended
            self.containers = {stats.name: known[stats.name] for stats in parts}
        if len(parts) == 1:
            self.cpu_time, self.memory_stats = cpu.time, memory
        else:
            self.cpu_time = _latest([stats.cpu.time for stats in parts])
            self.memory_stats = memory = _sum_memory([stats.memory for stats in parts])
            self.memory = f"{memory.working_set_bytes} {timestamps[memory.time]}"
        if len(parts) > 1 or self.cpu_total != cpu.usage_core_nano_seconds:  # or one has ended
            self.cpu = f"{self.cpu_total}e-9 {timestamps[self.cpu_time]}"
        self.reported = reported
        return new

    def stats(self) -> PodStats:
        """Return its usage for `/stats/summary`."""
        pod = self.reported
        cores = _sum([container.cpu.usage_nano_cores for container in pod.containers])
        return PodStats(
            pod.pod_ref,
            pod.start_time,
            pod.containers,
            pod.network,
            pod.ephemeral_storage,
            pod.process_stats,
            cpu=CPUStats(self.cpu_time, self.cpu_total, cores),
            memory=self.memory_stats,
        )


def node_samples(node: NodeStats) -> Samples:
    """Return the samples of the node, which has no labels."""
    samples = Samples("", node.start_time)
    samples.cpu = f"{node.cpu.usage_core_nano_seconds}e-9 {milliseconds(node.cpu.time)}"
    samples.memory = f"{node.memory.working_set_bytes} {milliseconds(node.memory.time)}"
    return samples


def _sum_memory(parts: Sequence[MemoryStats]) -> MemoryStats:
    return MemoryStats(
        _latest([part.time for part in parts]),
        sum([part.working_set_bytes for part in parts]),
        _sum([part.rss_bytes for part in parts]),
        _sum([part.usage_bytes for part in parts]),
    )


def _sum(amounts: Sequence[int | None]) -> int | None:
    """Return the sum; None where an amount is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _latest(times: Sequence[str]) -> str:
    return max(times, key=epoch_seconds)
