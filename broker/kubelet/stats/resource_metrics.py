"""`/metrics/resource`, which metrics-server scrapes.

Source of the names: kubernetes.io/docs/reference/instrumentation/node-metrics.
"""

from collections.abc import Sequence

from broker.kubelet.stats.exposition import family
from broker.kubelet.stats.pods import RunningPod, Samples, node_samples
from broker.kubelet.stats.schema import NodeStats


def resource_metrics(node: NodeStats, pods: Sequence[RunningPod], *, failed: bool = False) -> bytes:
    """Return the usage of the node, its pods and containers in the text format.

    Args:
        node: the usage of the node.
        pods: its pods.
        failed: whether the usage of the pods could not be read.
    """
    containers = [container for pod in pods for container in pod.containers]
    parts = [
        *_usage("node", [node_samples(node)]),
        *_usage("pod", pods),
        *_usage("container", containers),
        family(
            "container_start_time_seconds",
            "gauge",
            "Start of the container since the Unix epoch, in seconds",
            [container.labels + container.start for container in containers],
        ),
        family(
            "resource_scrape_error",
            "gauge",
            "1 if these metrics could not be read, 0 otherwise",
            [f" {int(failed)}"],
        ),
    ]
    return "".join(parts).encode()


def _usage(kind: str, users: Sequence[Samples]) -> tuple[str, str]:
    return (
        family(
            f"{kind}_cpu_usage_seconds_total",
            "counter",
            f"CPU time consumed by the {kind}, in core-seconds",
            [user.labels + user.cpu for user in users],
        ),
        family(
            f"{kind}_memory_working_set_bytes",
            "gauge",
            f"Current working set of the {kind}, in bytes",
            [user.labels + user.memory for user in users],
        ),
    )
