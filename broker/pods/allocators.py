"""The allocators of all nodes of the broker."""

from broker.dependencies import Dependencies
from broker.pods.accounting import Claims
from broker.pods.allocation import Allocator
from broker.pods.events import EventRecorder
from broker.pods.store import PodStore
from broker.pods.workqueue import WorkQueue


class Allocators:
    """The :class:`Allocator` of each node.

    Args:
        dependencies: of the broker.
        store: the pods that Kubernetes has.
        queue: gets the keys of pods to reconcile.
        events: records events of preemptions and resizes.

    Attributes:
        claims: the admitted pods of all nodes.
    """

    def __init__(
        self, dependencies: Dependencies, *, store: PodStore, queue: WorkQueue, events: EventRecorder
    ) -> None:
        self._dependencies = dependencies
        self._store = store
        self._queue = queue
        self._events = events
        self._by_node: dict[str, Allocator] = {}
        self.claims = Claims()

    def of(self, node: str) -> Allocator:
        """Return the allocator of a node, created if needed."""
        if node not in self._by_node:
            self._by_node[node] = Allocator(
                self._dependencies,
                self._dependencies.nodes[node],
                claims=self.claims,
                store=self._store,
                queue=self._queue,
                events=self._events,
            )
        return self._by_node[node]

    def retry_waiting(self, node: str) -> None:
        """Reconcile the pods of a node that wait for room."""
        if allocator := self._by_node.get(node):
            allocator.retry_waiting()

    def remove(self, node: str) -> None:
        """Remove the allocator of a node without pods."""
        self._by_node.pop(node, None)
