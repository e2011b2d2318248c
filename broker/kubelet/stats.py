"""Resource usage of node, pods and containers, for `/stats/summary` and `/metrics/resource`.

The provider contract has no usage, so each running container has an entry with its start time and a usage of 0.
The usage of the node is that of this process, reported as the system container `kubelet`.

The schema is the kubelet's (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`), the names of the metrics are those of
kubernetes.io/docs/reference/instrumentation/node-metrics. metrics-server omits pods without
usage, so `kubectl top node` shows this node, and `kubectl top pod` none of its pods.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.kubelet.schema import Pod, parse_pod
from broker.types import PodReference

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


class _Schema(msgspec.Struct, rename="camel"):
    pass


class CPUStats(_Schema):
    """CPU time used up to `time`, in nanoseconds."""

    time: datetime
    usage_core_nano_seconds: int


class MemoryStats(_Schema):
    """Memory in use at `time`, in bytes."""

    time: datetime
    working_set_bytes: int


class ContainerStats(_Schema):
    """Usage of a container."""

    name: str
    start_time: datetime
    cpu: CPUStats
    memory: MemoryStats


class PodStats(_Schema):
    """Usage of a pod: the sum of its containers."""

    pod_ref: PodReference
    start_time: datetime
    containers: list[ContainerStats]
    cpu: CPUStats
    memory: MemoryStats


class NodeStats(_Schema):
    """Usage of the node."""

    node_name: str
    start_time: datetime
    system_containers: list[ContainerStats]
    cpu: CPUStats
    memory: MemoryStats


class Summary(_Schema):
    """The answer of `/stats/summary`."""

    node: NodeStats
    pods: list[PodStats]


def summarize(node_name: str, pods: Iterable[bytes], own: Usage, *, started: datetime, now: datetime) -> Summary:
    """Return the usage of the node and its running pods.

    Args:
        node_name: name of the node.
        pods: each pod of the node in JSON, with its status.
        own: usage of this process.
        started: start time of this process.
        now: current time.
    """
    cpu, memory = CPUStats(now, own.cpu), MemoryStats(now, own.memory)
    kubelet = ContainerStats("kubelet", started, cpu, memory)
    node = NodeStats(node_name, started, [kubelet], cpu, memory)
    return Summary(node, [stats for raw in pods if (stats := _pod_stats(parse_pod(raw), now))])


def _pod_stats(pod: Pod, now: datetime) -> PodStats | None:
    cpu, memory = CPUStats(now, 0), MemoryStats(now, 0)
    containers = [
        ContainerStats(status.name, status.state.running.started_at or now, cpu, memory)
        for status in pod.container_statuses()
        if status.state.running
    ]
    if not containers:
        return None
    started = pod.status.start_time or min(container.start_time for container in containers)
    return PodStats(pod.metadata, started, containers, cpu, memory)


def exposition(summary: Summary) -> bytes:
    """Return a summary in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Resources(summary))
    return generate_latest(registry)


class _Resources(Collector):
    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of a kubelet's `/metrics/resource`."""
        pods = self._summary.pods
        containers = [
            ([container.name, pod.pod_ref.namespace, pod.pod_ref.name], container)
            for pod in pods
            for container in pod.containers
        ]
        yield from _usage("node", [], [([], self._summary.node)])
        yield from _usage("pod", ["namespace", "pod"], [([p.pod_ref.namespace, p.pod_ref.name], p) for p in pods])
        yield from _usage("container", _CONTAINER, containers)
        start = GaugeMetricFamily(
            "container_start_time_seconds",
            "Start of the container since the Unix epoch, in seconds",
            labels=_CONTAINER,
        )
        for labels, container in containers:
            start.add_metric(labels, container.start_time.timestamp())
        yield start
        yield GaugeMetricFamily("resource_scrape_error", "1 if these metrics could not be read, 0 otherwise", 0)


_CONTAINER = ["container", "namespace", "pod"]


def _usage(
    kind: str, labels: list[str], users: Sequence[tuple[list[str], NodeStats | PodStats | ContainerStats]]
) -> Iterator[Metric]:
    cpu = CounterMetricFamily(
        f"{kind}_cpu_usage_seconds", f"CPU time consumed by the {kind}, in core-seconds", labels=labels
    )
    memory = GaugeMetricFamily(
        f"{kind}_memory_working_set_bytes", f"Current working set of the {kind}, in bytes", labels=labels
    )
    for values, user in users:
        cpu.add_metric(values, user.cpu.usage_core_nano_seconds / 1e9, timestamp=user.cpu.time.timestamp())
        memory.add_metric(values, user.memory.working_set_bytes, timestamp=user.memory.time.timestamp())
    yield cpu
    yield memory
