"""The running pods of a provider, from one read of their usage to the next.

Two rules make the values usable as counters:

* The CPU time of a container never falls while the container runs; a restarted container, which has another start
  time, begins at zero.
* The CPU time of a pod is what its containers have used since the first read, those that have ended included: the
  sum over the running ones falls when a container ends.

A read goes through thousands of pods. Each is decoded, its values are taken over, and its objects are dropped
before the next is decoded: they are made in the same memory each time, which the processor has in its cache. What
stays is the text of the samples, the totals, and the JSON of all pods for those who ask for all of the usage.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from sys import intern

import msgspec

from broker.kubelet.stats.exposition import epoch_seconds, epoch_text, labels, milliseconds
from broker.kubelet.stats.schema import (
    ContainerStats,
    CPUStats,
    MemoryStats,
    NodeStats,
    PodIdentity,
    PodStats,
    ReportedPod,
)
from broker.types import PodReference

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder(ReportedPod).decode
_decode_identity = msgspec.json.Decoder(PodIdentity).decode


class Samples:
    """Usage of the node, a pod or a container as text, which scrapes repeat until the next read.

    Args:
        labels: labels in `/metrics/resource`, as in a sample; empty for none.

    Attributes:
        labels: the labels in braces, and a space.
        cpu: CPU time and its timestamp.
        memory: working set and its timestamp.
    """

    __slots__ = ("cpu", "labels", "memory")

    def __init__(self, labels: str) -> None:
        self.labels = f"{{{labels}}} " if labels else " "
        self.cpu = self.memory = ""


class RunningContainer(Samples):
    """A container since its start.

    Attributes:
        name: its name.
        start_time: its start.
        start: the same as the value of a sample.
        cpu_total: CPU time in core-nanoseconds.
    """

    __slots__ = ("cpu_total", "name", "start", "start_time")

    def __init__(self, stats: ContainerStats, pod: PodReference) -> None:
        super().__init__(labels(container=stats.name, namespace=pod.namespace, pod=pod.name))
        # Many containers have the same; each read compares them.
        self.name = intern(stats.name)
        self.start_time = intern(stats.start_time)
        self.start = epoch_text(stats.start_time)
        self.cpu_total = 0


_NONE: Mapping[str, RunningContainer] = {}
"""Of most pods no container has ended; they have this one in common."""


class RunningPod(Samples):
    """A pod with running containers.

    Args:
        pod: the pod.

    Attributes:
        uid: its UID.
        containers: in the order of the provider.
        cpu_total: CPU time of its containers since the first read, in core-nanoseconds.
        working_set: memory of its containers together, in bytes.
        ended: CPU time of the containers that have ended, in core-nanoseconds.
        start_time: its start.
        read_at: the time of the last read.
    """

    __slots__ = (
        "_counted", "_gone", "containers", "cpu_total", "ended", "read_at", "start_time", "uid", "working_set",
    )  # fmt: skip

    def __init__(self, pod: PodReference) -> None:
        super().__init__(labels(namespace=pod.namespace, pod=pod.name))
        self.uid = pod.uid
        self.containers: tuple[RunningContainer, ...] = ()
        self.cpu_total = self.working_set = 0
        self.read_at: datetime | None = None
        self.start_time = ""
        self.ended = 0
        self._gone = _NONE  # name → the last container that is no longer reported
        self._counted = 0  # CPU time that the node has, or that is older than the first read

    def take_new_cpu(self) -> int:
        """Return the CPU time that its containers have used since the last call, in core-nanoseconds."""
        new = self.cpu_total - self._counted
        self._counted = self.cpu_total
        return new

    def stats(self, pod: ReportedPod) -> PodStats:
        """Return its usage for `/stats/summary`.

        Args:
            pod: what was reported at the last read.
        """
        for container, stats in zip(self.containers, pod.containers, strict=True):
            stats.cpu.usage_core_nano_seconds = container.cpu_total
        cpu = [stats.cpu for stats in pod.containers]
        return PodStats(
            pod.pod_ref,
            pod.start_time,
            pod.containers,
            pod.network,
            pod.ephemeral_storage,
            pod.process_stats,
            cpu=CPUStats(
                _latest([part.time for part in cpu]), self.cpu_total, _add([part.usage_nano_cores for part in cpu])
            ),
            memory=pod_memory(pod),
        )

    def replace_containers(self, reported: ReportedPod, since: float) -> tuple[RunningContainer, ...]:
        """Replace the containers that have ended by those that have started.

        One that was missing in an answer, and is there again with the same start, continues.

        Args:
            reported: the usage that was read.
            since: the time of the last read; what a container that is new here has used before does not count for
                the node, or its total would leap.

        Returns:
            The containers, in the order of the usage.

        Raises:
            ValueError: a time is none.
        """
        known = {(container.name, container.start_time): container for container in self.containers}
        containers, counted, ended, gone = [], self._counted, self.ended, dict(self._gone)
        for stats in reported.containers:
            container = known.pop((stats.name, stats.start_time), None)
            last = gone.get(stats.name)
            if container is None and last and last.start_time == stats.start_time:
                container = gone.pop(stats.name)
                ended -= container.cpu_total
            elif container is None:
                container = RunningContainer(stats, reported.pod_ref)
                if epoch_seconds(stats.start_time) < since:
                    counted += stats.cpu.usage_core_nano_seconds
            containers.append(container)
        self._counted = counted
        self.ended = ended + sum([container.cpu_total for container in known.values()])
        self._gone = {**gone, **{container.name: container for container in known.values()}} or _NONE
        self.containers = tuple(containers)
        return self.containers

    def add_up(self, parts: Sequence[ContainerStats]) -> None:
        """Take over the sums of its containers, whose own usage has been taken over.

        Raises:
            ValueError: a time is none.
        """
        self.cpu_total = self.ended + sum([container.cpu_total for container in self.containers])
        self.working_set = sum([stats.memory.working_set_bytes for stats in parts])
        cpu_time = _latest([stats.cpu.time for stats in parts])
        memory_time = _latest([stats.memory.time for stats in parts])
        self.cpu = f"{self.cpu_total}e-9 {milliseconds(cpu_time)}"
        self.memory = f"{self.working_set} {milliseconds(memory_time)}"

    def check_times(self, reported: ReportedPod) -> None:
        """Check the times that no sample has.

        Raises:
            ValueError: a time is none.
        """
        epoch_seconds(reported.start_time)
        for part in (reported.network, reported.ephemeral_storage):
            if part and part.time:
                epoch_seconds(part.time)
        self.start_time = intern(reported.start_time)


class RunningPods:
    """The pods with running containers, from one read to the next."""

    def __init__(self) -> None:
        self._pods: dict[str, RunningPod] = {}
        self._body = b"[]"
        self._entries: dict[str, msgspec.Raw] | None = None
        """UID → usage in JSON, of the last read."""
        self._read_at: datetime | None = None

    def update(self, body: bytes, at: datetime) -> None:
        """Take over the usage that was read.

        Args:
            body: the usage of each pod, a JSON array.
            at: the time of the read.

        Raises:
            msgspec.DecodeError: the body has another shape.
            ValueError: a time is none.
        """
        pods, since = self._pods, (self._read_at or at).timestamp()
        time: str | None = None  # of the last value; most are measured at one time
        timestamp = ""
        for entry in _split(body):
            reported = _decode(entry)
            parts = reported.containers
            if not parts:
                continue
            pod = pods.get(reported.pod_ref.uid) or self._add(reported.pod_ref)
            pod.read_at = at
            containers = pod.containers
            if len(parts) != len(containers):
                containers = pod.replace_containers(reported, since)
            number = 0  # faster than `zip`
            for stats in parts:
                container = containers[number]
                if stats.start_time != container.start_time or stats.name != container.name:
                    containers = pod.replace_containers(reported, since)
                    container = containers[number]
                number += 1
                cpu, memory = stats.cpu, stats.memory
                total, working_set = cpu.usage_core_nano_seconds, memory.working_set_bytes
                if total < container.cpu_total:  # noqa: PLR1730 - a call of `max` takes longer
                    total = container.cpu_total
                container.cpu_total = total
                if cpu.time != time:
                    time = cpu.time
                    timestamp = milliseconds(time)
                pod.cpu = container.cpu = f"{total}e-9 {timestamp}"
                if memory.time != time:
                    time = memory.time
                    timestamp = milliseconds(time)
                pod.memory = container.memory = f"{working_set} {timestamp}"
            if number == 1 and not pod.ended:
                pod.cpu_total, pod.working_set = total, working_set
            else:
                pod.add_up(parts)
            if reported.start_time != pod.start_time or reported.network or reported.ephemeral_storage:
                pod.check_times(reported)
        for uid in [uid for uid, pod in pods.items() if pod.read_at is not at]:
            del pods[uid]
        self._body, self._entries, self._read_at = body, None, at

    def find(self, uids: Iterable[str]) -> list[RunningPod]:
        """Return the pods that have one of these UIDs."""
        return [pod for uid in uids if (pod := self._pods.get(uid))]

    def reported(self, pods: Iterable[RunningPod]) -> list[ReportedPod]:
        """Return what was reported of these pods at the last read; it is decoded again."""
        entries = self._entries
        if entries is None:
            entries = {_decode_identity(entry).pod_ref.uid: entry for entry in _split(self._body)}
            self._entries = entries
        return [_decode(entries[pod.uid]) for pod in pods]

    def _add(self, pod: PodReference) -> RunningPod:
        added = self._pods[pod.uid] = RunningPod(pod)
        return added


def node_samples(node: NodeStats) -> Samples:
    """Return the samples of the node, which has no labels."""
    samples = Samples("")
    samples.cpu = f"{node.cpu.usage_core_nano_seconds}e-9 {milliseconds(node.cpu.time)}"
    samples.memory = f"{node.memory.working_set_bytes} {milliseconds(node.memory.time)}"
    return samples


def pod_memory(pod: ReportedPod) -> MemoryStats:
    """Return the memory of the containers of a pod together."""
    parts = [container.memory for container in pod.containers]
    if len(parts) == 1:
        return parts[0]
    return MemoryStats(
        _latest([part.time for part in parts]),
        sum([part.working_set_bytes for part in parts]),
        _add([part.rss_bytes for part in parts]),
        _add([part.usage_bytes for part in parts]),
    )


def _add(amounts: Sequence[int | None]) -> int | None:
    """Return the sum; None where an amount is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _latest(times: Sequence[str]) -> str:
    return max(times, key=epoch_seconds)
