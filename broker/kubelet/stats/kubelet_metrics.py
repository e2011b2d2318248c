"""The metrics of a kubelet about its node, by which dashboards and alerts of Kubernetes find nodes and count pods.

Source: `pkg/kubelet/metrics/metrics.go` of Kubernetes.
"""

from collections import Counter
from collections.abc import Iterable

from broker.kubelet.schema import ContainerStatus, Pod
from broker.kubelet.stats.exposition import family, labels
from broker.node_info import NodeInfo


def kubelet_metrics(node: NodeInfo, pods: Iterable[Pod]) -> bytes:
    """Return the name of the node, the number of its pods, containers and evictions, in the text format.

    Args:
        node: the node.
        pods: its pods.
    """
    running = 0
    containers: Counter[str] = Counter()
    for pod in pods:
        states = [_state(status) for status in pod.container_statuses()]
        containers.update(states)
        running += pod.status.phase == "Running" or "running" in states
    parts = [
        family(
            "kubelet_node_name",
            "gauge",
            "Name of the node, as a label",
            [f"{{{labels(node=node.name)}}} 1"],
        ),
        family("kubelet_running_pods", "gauge", "Number of pods that are running", [f" {running}"]),
        family(
            "kubelet_running_containers",
            "gauge",
            "Number of containers by their state",
            [f"{{{labels(container_state=state)}}} {number}" for state, number in containers.items()],
        ),
        family(
            "kubelet_evictions",
            "counter",
            "Pods evicted by the node so far, by eviction signal",
            [f"{{{labels(eviction_signal=signal)}}} {number}" for signal, number in node.evictions.items()],
        ),
    ]
    return "".join(parts).encode()


def _state(status: ContainerStatus) -> str:
    """Return the state of a container in the terms of a container runtime."""
    if status.state.running:
        return "running"
    return "exited" if status.state.terminated else "created"
