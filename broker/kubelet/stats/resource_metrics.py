"""`/metrics/resource`, which metrics-server scrapes.

Source of the names: kubernetes.io/docs/reference/instrumentation/node-metrics.
"""

from collections.abc import Sequence
from functools import lru_cache

from broker.kubelet.stats.exposition import epoch_text, family, labels, milliseconds
from broker.kubelet.stats.schema import Summary


def resource_metrics(summary: Summary, *, failed: bool = False) -> bytes:
    """Return the usage of the node, its pods and containers in the text format.

    Args:
        summary: the usage.
        failed: whether the usage of the pods could not be read.
    """
    node_cpu, node_memory = summary.node.cpu, summary.node.memory
    cpu_of_pods, memory_of_pods, cpu_of_containers, memory_of_containers, starts = [], [], [], [], []
    for pod in summary.pods:
        ref, cpu, memory = pod.pod_ref, pod.cpu, pod.memory
        where = _labels(ref.namespace, ref.name)
        cpu_of_pods.append(f"{where} {cpu.usage_core_nano_seconds}e-9 {milliseconds(cpu.time)}")
        memory_of_pods.append(f"{where} {memory.working_set_bytes} {milliseconds(memory.time)}")
        for container in pod.containers:
            cpu, memory = container.cpu, container.memory
            where = _labels(ref.namespace, ref.name, container.name)
            cpu_of_containers.append(f"{where} {cpu.usage_core_nano_seconds}e-9 {milliseconds(cpu.time)}")
            memory_of_containers.append(f"{where} {memory.working_set_bytes} {milliseconds(memory.time)}")
            starts.append(f"{where} {epoch_text(container.start_time)}")
    parts = [
        *_usage(
            "node",
            [f" {node_cpu.usage_core_nano_seconds}e-9 {milliseconds(node_cpu.time)}"],
            [f" {node_memory.working_set_bytes} {milliseconds(node_memory.time)}"],
        ),
        *_usage("pod", cpu_of_pods, memory_of_pods),
        *_usage("container", cpu_of_containers, memory_of_containers),
        family(
            "container_start_time_seconds",
            "gauge",
            "Start of the container since the Unix epoch, in seconds",
            starts,
        ),
        family(
            "resource_scrape_error",
            "gauge",
            "1 if these metrics could not be read, 0 otherwise",
            [f" {int(failed)}"],
        ),
    ]
    return "".join(parts).encode()


@lru_cache(maxsize=65536)  # the same at each scrape
def _labels(namespace: str, pod: str, container: str | None = None) -> str:
    of_pod = labels(namespace=namespace, pod=pod)
    return f"{{{of_pod}}}" if container is None else f"{{{labels(container=container)},{of_pod}}}"


def _usage(kind: str, cpu: Sequence[str], memory: Sequence[str]) -> tuple[str, str]:
    return (
        family(
            f"{kind}_cpu_usage_seconds_total",
            "counter",
            f"CPU time consumed by the {kind}, in core-seconds",
            cpu,
        ),
        family(
            f"{kind}_memory_working_set_bytes",
            "gauge",
            f"Current working set of the {kind}, in bytes",
            memory,
        ),
    )
