"""`/metrics/cadvisor`, from which dashboards and recording rules of Kubernetes read the usage of containers.

The names and labels are cAdvisor's. A pod has series of its own, without `container` and `image`, and so has the
node, with the `id` "/": the rules tell them apart by these labels. `name` is a container's ID without the scheme.

Source: docs/storage/prometheus.md of google/cadvisor, and `containerPrometheusLabelsFunc` in
`pkg/kubelet/server/server.go` of Kubernetes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from broker.kubelet.schema import ContainerStatus, Pod, Resources
from broker.kubelet.stats.exposition import epoch_text, family, labels, milliseconds
from broker.kubelet.stats.pods import RunningPod, Samples, node_samples, pod_memory
from broker.kubelet.stats.schema import InterfaceStats, MemoryStats, NodeStats, ReportedPod
from broker.kubernetes.quantity import parse_quantity

_CPU_PERIOD = 100_000
"""Microseconds in which a container may use its quota."""
_Group = tuple[str, Samples, str, MemoryStats]
"""Labels, usage, start and memory of the node, a pod or a container; cAdvisor measures control groups."""


class _Container(NamedTuple):
    """The labels of a container's series, and what a kubelet would set in its control group.

    Attributes:
        labels: in braces, and a space.
        shares: its CPU weight.
        quota: the CPU time that it may use in a period, in microseconds; None for no limit.
        memory: its limit in bytes; 0 for no limit.
    """

    labels: str
    shares: int
    quota: int | None
    memory: int | float


class PodSeries:
    """Labels and limits of the series of a pod, the same until the pod changes.

    Args:
        pod: the pod in Kubernetes.

    Attributes:
        uid: its UID.
        labels: of the pod's own series, in braces, and a space.
    """

    def __init__(self, pod: Pod) -> None:
        self.uid = pod.metadata.uid
        self._path = f"/kubepods/pod{self.uid}"
        self._of_pod = labels(namespace=pod.metadata.namespace, pod=pod.metadata.name)
        self.labels = _labels(self._path, self._of_pod)
        statuses = {status.name: status for status in pod.container_statuses()}
        self._containers = {
            name: self._describe(name, statuses.get(name), spec.resources)
            for name, spec in pod.containers().items()
        }

    def container(self, name: str) -> _Container:
        """Return what the series of a container have; of one that is not in the pod, only the name is known."""
        return self._containers.get(name) or self._describe(name, None, Resources())

    def _describe(self, name: str, status: ContainerStatus | None, resources: Resources) -> _Container:
        id_ = status.container_id.rpartition("/")[2] if status else ""
        image = status.image if status else ""
        limits = resources.limits or {}
        request = (resources.requests or limits).get("cpu", limits.get("cpu", 0))
        return _Container(
            _labels(f"{self._path}/{id_ or name}", self._of_pod, container=name, image=image, name=id_),
            max(2, int(_amount(request) * 1024)),
            int(_amount(limits["cpu"]) * _CPU_PERIOD) if "cpu" in limits else None,
            _amount(limits.get("memory", 0)),
        )


class _Pod(NamedTuple):
    usage: RunningPod
    reported: ReportedPod
    series: PodSeries


def cadvisor_metrics(
    node: NodeStats,
    pods: Iterable[RunningPod],
    reported: Iterable[ReportedPod],
    series: Mapping[str, PodSeries],
    *,
    now: datetime,
    failed: bool = False,
) -> bytes:
    """Return the usage of the node, its pods and containers in the text format.

    Args:
        node: the usage of the node.
        pods: its pods. One without series is left out: it has just been removed.
        reported: what was reported of the same pods.
        series: UID → what the series of a pod have.
        now: the current time.
        failed: whether the usage of the pods could not be read.
    """
    known = [
        _Pod(pod, stats, series[pod.uid]) for pod, stats in zip(pods, reported, strict=True) if pod.uid in series
    ]
    groups: list[_Group] = [
        (_labels("/", labels(namespace="", pod="")), node_samples(node), epoch_text(node.start_time), node.memory)
    ]
    containers: list[_Container] = []
    for pod, stats, of_pod in known:
        groups.append((of_pod.labels, pod, epoch_text(stats.start_time), pod_memory(stats)))
        for container, part in zip(pod.containers, stats.containers, strict=True):
            described = of_pod.container(container.name)
            groups.append((described.labels, container, container.start, part.memory))
            containers.append(described)
    seen = int(now.timestamp() * 1000)
    parts = [
        *_usage(groups),
        _cache(known),
        *_limits(containers),
        *_network(known),
        family(
            "container_last_seen",
            "gauge",
            "Time of this answer, in seconds since the Unix epoch",
            [f"{where}{seen // 1000} {seen}" for where, *_ in groups],
        ),
        family(
            "container_scrape_error",
            "gauge",
            "1 if the usage could not be read, 0 otherwise",
            [f" {int(failed)}"],
        ),
    ]
    return "".join(parts).encode()


def machine_metrics(capacity: Mapping[str, str]) -> bytes:
    """Return the cores and the memory of the node; what its provider has not reported yet is left out."""
    where = f"{{{labels(boot_id='', machine_id='', system_uuid='')}}}"
    parts = []
    if "cpu" in capacity:
        cores = f"{where} {_amount(capacity['cpu'])}"
        parts.append(family("machine_cpu_cores", "gauge", "CPU cores of the node", [cores]))
    if "memory" in capacity:
        memory = f"{where} {_amount(capacity['memory'])}"
        parts.append(family("machine_memory_bytes", "gauge", "Memory of the node, in bytes", [memory]))
    return "".join(parts).encode()


def _labels(id_: str, of_pod: str, *, container: str = "", image: str = "", name: str = "") -> str:
    return f"{{{labels(container=container, id=id_, image=image, name=name)},{of_pod}}} "


def _usage(groups: Iterable[_Group]) -> Iterator[str]:
    for name, kind, description, samples in (
        (
            "cpu_usage_seconds_total", "counter", "CPU time so far, in core-seconds",
            [f'{{cpu="total",{where[1:]}{group.cpu}' for where, group, _, _ in groups],
        ),
        (
            "memory_working_set_bytes", "gauge", "Working set, in bytes",
            [where + group.memory for where, group, _, _ in groups],
        ),
        (
            "memory_rss", "gauge", "Resident memory, in bytes",
            [
                f"{where}{memory.rss_bytes} {milliseconds(memory.time)}"
                for where, _, _, memory in groups
                if memory.rss_bytes is not None
            ],
        ),
        (
            "memory_usage_bytes", "gauge", "Memory in use, in bytes, with that which is not needed now",
            [
                f"{where}{memory.usage_bytes} {milliseconds(memory.time)}"
                for where, _, _, memory in groups
                if memory.usage_bytes is not None
            ],
        ),
        (
            "start_time_seconds", "gauge", "Start of the container, in seconds since the Unix epoch",
            [where + start for where, _, start, _ in groups],
        ),
    ):  # fmt: skip
        yield family(f"container_{name}", kind, description, samples)


def _cache(pods: Iterable[_Pod]) -> str:
    """Return the page cache of containers: the memory that is charged to them, and not resident."""
    samples = []
    for _, stats, series in pods:
        for container in stats.containers:
            memory = container.memory
            if memory.usage_bytes is not None and memory.rss_bytes is not None:
                cache = max(memory.usage_bytes - memory.rss_bytes, 0)
                samples.append(f"{series.container(container.name).labels}{cache} {milliseconds(memory.time)}")
    return family("container_memory_cache", "gauge", "Page cache, in bytes", samples)


def _limits(containers: Collection[_Container]) -> Iterator[str]:
    limited = [(where, quota) for where, _, quota, _ in containers if quota is not None]
    for name, description, samples in (
        ("cpu_shares", "CPU shares, by the request", [f"{c.labels}{c.shares}" for c in containers]),
        (
            "cpu_period",
            "Period of the CPU quota, in microseconds",
            [f"{where}{_CPU_PERIOD}" for where, _ in limited],
        ),
        ("cpu_quota", "CPU time in each period, in microseconds", [f"{where}{quota}" for where, quota in limited]),
        (
            "memory_limit_bytes",
            "Memory limit of the container, in bytes",
            [f"{c.labels}{c.memory}" for c in containers],
        ),
    ):
        yield family(f"container_spec_{name}", "gauge", description, samples)


def _network(pods: Iterable[_Pod]) -> Iterator[str]:
    received, sent = [], []
    for _, stats, series in pods:
        network = stats.network
        if network is None:
            continue
        at = milliseconds(network.time)
        default = InterfaceStats(network.name or "eth0", network.rx_bytes, network.tx_bytes)
        for interface in network.interfaces or [default]:
            where = f"{{{labels(interface=interface.name)},{series.labels[1:]}"
            if interface.rx_bytes is not None:
                received.append(f"{where}{interface.rx_bytes} {at}")
            if interface.tx_bytes is not None:
                sent.append(f"{where}{interface.tx_bytes} {at}")
    yield family("container_network_receive_bytes_total", "counter", "Bytes received so far", received)
    yield family("container_network_transmit_bytes_total", "counter", "Bytes sent so far", sent)


def _amount(quantity: str | int) -> int | float:
    """Return a quantity in the unit of its resource."""
    amount = parse_quantity(str(quantity))
    return int(amount) if amount == amount.to_integral_value() else float(amount)
