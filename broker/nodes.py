"""The nodes of this broker, by name, as the parts that work on pods look them up."""

from collections.abc import Iterable, Iterator, Mapping

from broker.node_info import NodeInfo
from broker.types import Object


class Nodes(Mapping[str, NodeInfo]):
    """The nodes by name: one, or those of a fleet.

    Args:
        nodes: the first nodes.
    """

    def __init__(self, nodes: Iterable[NodeInfo] = ()) -> None:
        self._nodes = {node.name: node for node in nodes}

    def __getitem__(self, name: str) -> NodeInfo:
        return self._nodes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, node: NodeInfo) -> None:
        """Add a node."""
        self._nodes[node.name] = node

    def remove(self, name: str) -> None:
        """Remove a node, if it is there."""
        self._nodes.pop(name, None)

    def of(self, pod: Object) -> NodeInfo:
        """Return the node of a pod.

        Raises:
            KeyError: the pod is bound to a node of another broker, or to none.
        """
        return self._nodes[node_name(pod)]


def node_name(pod: Object) -> str:
    """Return the name of the node that a pod is bound to; empty where it is bound to none."""
    name: str | None = (pod.get("spec") or {}).get("nodeName")
    return name or ""
