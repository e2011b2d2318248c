"""`/metrics/resource`, which metrics-server scrapes.

Source of the names: kubernetes.io/docs/reference/instrumentation/node-metrics.
"""

from collections.abc import Sequence
from functools import lru_cache

from broker.kubelet.stats.exposition import epoch_seconds, escaped, family, labels, milliseconds
from broker.kubelet.stats.schema import ContainerStats, NodeStats, PodStats, Summary

_Used = NodeStats | PodStats | ContainerStats


def resource_metrics(summary: Summary, *, failed: bool = False) -> bytes:
    """Return the usage of the node, its pods and containers in the text format.

    Args:
        summary: the usage.
        failed: whether the usage of the pods could not be read.
    """
    pods: list[tuple[str, PodStats]] = []
    containers: list[tuple[str, ContainerStats]] = []
    for pod in summary.pods:
        where = _of_pod(pod.pod_ref.namespace, pod.pod_ref.name)
        pods.append((f"{{{where}}}", pod))
        containers += [(f'{{container="{escaped(each.name)}",{where}}}', each) for each in pod.containers]
    parts = [
        *_usage("node", [("", summary.node)]),
        *_usage("pod", pods),
        *_usage("container", containers),
        family(
            "container_start_time_seconds",
            "gauge",
            "Start of the container since the Unix epoch, in seconds",
            [f"{where} {epoch_seconds(container.start_time)}" for where, container in containers],
        ),
        family(
            "resource_scrape_error",
            "gauge",
            "1 if these metrics could not be read, 0 otherwise",
            [f" {int(failed)}"],
        ),
    ]
    return "".join(parts).encode()


@lru_cache(maxsize=16384)  # the same at each scrape
def _of_pod(namespace: str, name: str) -> str:
    return labels(namespace=namespace, pod=name)


def _usage(kind: str, users: Sequence[tuple[str, _Used]]) -> tuple[str, str]:
    cpu = family(
        f"{kind}_cpu_usage_seconds_total",
        "counter",
        f"CPU time consumed by the {kind}, in core-seconds",
        [
            f"{where} {user.cpu.usage_core_nano_seconds / 1e9} {milliseconds(user.cpu.time)}"
            for where, user in users
        ],
    )
    memory = family(
        f"{kind}_memory_working_set_bytes",
        "gauge",
        f"Current working set of the {kind}, in bytes",
        [f"{where} {user.memory.working_set_bytes} {milliseconds(user.memory.time)}" for where, user in users],
    )
    return cpu, memory
