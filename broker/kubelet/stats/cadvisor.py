"""`/metrics/cadvisor`, from which dashboards and recording rules of Kubernetes read the usage of containers.

The names and labels are cAdvisor's. A pod has series of its own, without `container` and `image`, and so has the
node, with the `id` "/": the rules tell them apart by these labels. `name` is a container's ID without the scheme.

Source: docs/storage/prometheus.md of google/cadvisor, and `containerPrometheusLabelsFunc` in
`pkg/kubelet/server/server.go` of Kubernetes.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from broker.kubelet.schema import Pod, Resources
from broker.kubelet.stats.exposition import epoch_text, family, labels, milliseconds
from broker.kubelet.stats.schema import CPUStats, InterfaceStats, MemoryStats, PodStats, Summary
from broker.kubernetes.quantity import parse_quantity

_CPU_PERIOD = 100_000
"""Microseconds in which a container may use its quota."""
_NO_RESOURCES = Resources()


class _Group(NamedTuple):
    """A container, a pod or the node, with the labels that its series have; cAdvisor measures control groups."""

    labels: str
    start_time: str
    cpu: CPUStats
    memory: MemoryStats
    resources: Resources | None = None


def cadvisor_metrics(summary: Summary, pods: Mapping[str, Pod], *, now: datetime, failed: bool = False) -> bytes:
    """Return the usage of the node, its pods and containers in the text format.

    Args:
        summary: the usage.
        pods: UID → pod, for images and limits.
        now: the current time.
        failed: whether the usage of the pods could not be read.
    """
    groups = list(_groups(summary, pods))
    at = int(now.timestamp() * 1000)
    parts = [
        *_usage(groups),
        *_limits([(group.labels, group.resources) for group in groups if group.resources is not None]),
        *_network(summary.pods),
        family(
            "container_start_time_seconds",
            "gauge",
            "Start time of the container since unix epoch in seconds.",
            [f"{{{group.labels}}} {epoch_text(group.start_time)}" for group in groups],
        ),
        family(
            "container_last_seen",
            "gauge",
            "Last time a container was seen by the exporter",
            [f"{{{group.labels}}} {at // 1000} {at}" for group in groups],
        ),
        family(
            "container_scrape_error",
            "gauge",
            "1 if there was an error while getting container metrics, 0 otherwise",
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
        parts.append(family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [cores]))
    if "memory" in capacity:
        memory = f"{where} {_amount(capacity['memory'])}"
        parts.append(
            family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", [memory])
        )
    return "".join(parts).encode()


def _groups(summary: Summary, pods: Mapping[str, Pod]) -> Iterator[_Group]:
    node = summary.node
    yield _Group(_labels("/", labels(namespace="", pod="")), node.start_time, node.cpu, node.memory)
    for stats in summary.pods:
        ref = stats.pod_ref
        of_pod = labels(namespace=ref.namespace, pod=ref.name)
        path = f"/kubepods/pod{ref.uid}"
        yield _Group(_labels(path, of_pod), stats.start_time, stats.cpu, stats.memory)
        pod = pods.get(ref.uid)
        specs = pod.containers() if pod else {}
        statuses = {status.name: status for status in pod.container_statuses()} if pod else {}
        for container in stats.containers:
            status, spec = statuses.get(container.name), specs.get(container.name)
            id_ = status.container_id.rpartition("/")[2] if status else ""
            where = _labels(
                f"{path}/{id_ or container.name}",
                of_pod,
                container=container.name,
                image=status.image if status else "",
                name=id_,
            )
            resources = spec.resources if spec else _NO_RESOURCES
            yield _Group(where, container.start_time, container.cpu, container.memory, resources)


def _labels(id_: str, of_pod: str, *, container: str = "", image: str = "", name: str = "") -> str:
    return labels(container=container, id=id_, image=image, name=name) + "," + of_pod


def _usage(groups: Iterable[_Group]) -> Iterator[str]:
    cpu, working_set, rss, usage = [], [], [], []
    for group in groups:
        where, at = f"{{{group.labels}}}", milliseconds(group.memory.time)
        total = f"{group.cpu.usage_core_nano_seconds}e-9 {milliseconds(group.cpu.time)}"
        cpu.append(f'{{cpu="total",{group.labels}}} {total}')
        working_set.append(f"{where} {group.memory.working_set_bytes} {at}")
        if group.memory.rss_bytes is not None:
            rss.append(f"{where} {group.memory.rss_bytes} {at}")
        if group.memory.usage_bytes is not None:
            usage.append(f"{where} {group.memory.usage_bytes} {at}")
    yield family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", cpu)
    yield family("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", working_set)
    yield family("container_memory_rss", "gauge", "Size of RSS in bytes.", rss)
    yield family(
        "container_memory_usage_bytes", "gauge", "Current memory usage in bytes, whenever it was accessed.", usage
    )


def _limits(containers: Iterable[tuple[str, Resources]]) -> Iterator[str]:
    """Return what a kubelet would set in the control group of each container: 0 or no sample without a limit."""
    shares, period, quota, memory = [], [], [], []
    for labels_, resources in containers:
        where = f"{{{labels_}}}"
        limits = resources.limits or {}
        request = (resources.requests or limits).get("cpu", limits.get("cpu", 0))
        shares.append(f"{where} {max(2, int(_amount(request) * 1024))}")
        memory.append(f"{where} {_amount(limits.get('memory', 0))}")
        if "cpu" in limits:
            period.append(f"{where} {_CPU_PERIOD}")
            quota.append(f"{where} {int(_amount(limits['cpu']) * _CPU_PERIOD)}")
    yield family("container_spec_cpu_shares", "gauge", "CPU share of the container.", shares)
    yield family("container_spec_cpu_period", "gauge", "CPU period of the container.", period)
    yield family("container_spec_cpu_quota", "gauge", "CPU quota of the container.", quota)
    yield family("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", memory)


def _network(pods: Iterable[PodStats]) -> Iterator[str]:
    received, sent = [], []
    for pod in pods:
        if pod.network is None:
            continue
        network, ref = pod.network, pod.pod_ref
        of_pod = _labels(f"/kubepods/pod{ref.uid}", labels(namespace=ref.namespace, pod=ref.name))
        at = milliseconds(network.time)
        default = InterfaceStats(network.name or "eth0", network.rx_bytes, network.tx_bytes)
        for interface in network.interfaces or [default]:
            where = f"{{{labels(interface=interface.name)},{of_pod}}}"
            if interface.rx_bytes is not None:
                received.append(f"{where} {interface.rx_bytes} {at}")
            if interface.tx_bytes is not None:
                sent.append(f"{where} {interface.tx_bytes} {at}")
    yield family(
        "container_network_receive_bytes_total", "counter", "Cumulative count of bytes received", received
    )
    yield family(
        "container_network_transmit_bytes_total", "counter", "Cumulative count of bytes transmitted", sent
    )


def _amount(quantity: str | int) -> int | float:
    """Return a quantity in the unit of its resource."""
    amount = parse_quantity(str(quantity))
    return int(amount) if amount == amount.to_integral_value() else float(amount)
