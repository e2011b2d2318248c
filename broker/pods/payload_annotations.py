"""Annotations that only the provider's copy of a pod has: what the pod's node does to its pods.

The synthetic runtime reads them; any other provider ignores them. An annotation of the pod itself is kept.
"""

from collections.abc import Mapping

from broker.faults import pod_annotations
from broker.node_info import NodeInfo
from broker.types import Object

START_DELAY = "synthetic.virtual-kubelet.io/start-delay"


def annotations_for(pod: Object, node: NodeInfo) -> dict[str, str]:
    """Return the annotations to add to the payload of a pod."""
    present: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    wanted = pod_annotations(pod, node.faults)
    if node.start_delay is not None:
        wanted[START_DELAY] = f"{round(node.start_delay * 1000)}ms"
    return {name: value for name, value in wanted.items() if name not in present}
