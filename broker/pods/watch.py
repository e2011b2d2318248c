"""The one watch of the pods of all nodes.

The pods of a single node are selected by the API server: the identity of a node may list no others. Those of
several nodes are selected here, since a field selector names one node: all pods that are bound are watched, and
those of other nodes are dropped before they are decoded. When a node is added later whose pods were dropped, the
pods are listed again. Most nodes are added before they have pods.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from broker.dependencies import Dependencies
from broker.kubernetes.objects import RawObject
from broker.kubernetes.watch import Event, KnownObjects, list_and_watch

_NODES_DELAY = 1.0
"""Seconds after which the pods of added nodes are listed: several nodes often come together."""
_BOUND = "spec.nodeName!="


class PodWatch:
    """Watches the pods that are bound to the nodes.

    Args:
        dependencies: of the broker.
        on_sync: is called with the current time whenever the events so far are known to be complete.
        on_event: is called with each event.

    Attributes:
        listed: is set when the pods of all nodes have been listed.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        on_sync: Callable[[datetime], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self._dependencies = dependencies
        self._only = dependencies.settings.only_node
        self._on_sync = on_sync
        self._on_event = on_event
        self._known = KnownObjects(None if self._only else self._is_on_a_node)
        self._added = asyncio.Event()
        self.listed = asyncio.Event()
        self._dropped: set[str] = set()  # the nodes of dropped pods

    def add_node(self, node: str) -> None:
        """Watch the pods of a node that was added: list the pods soon, where some of its were dropped."""
        if node in self._dropped:
            self._added.set()
            self.listed.clear()

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            self._added.clear()
            self._dropped.clear()
            watch = asyncio.create_task(self._watch(), name="watch of pods")
            added = asyncio.create_task(self._added.wait(), name="added nodes")
            try:
                await asyncio.wait({watch, added}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done():
                    watch.result()
                await asyncio.sleep(_NODES_DELAY)
            finally:
                for task in (watch, added):
                    task.cancel()
                await asyncio.wait({watch, added})

    async def _watch(self) -> None:
        events = list_and_watch(
            self._dependencies.client,
            "/api/v1/pods",
            field_selector=f"spec.nodeName={self._only}" if self._only else _BOUND,
            known=self._known,
            clock=self._dependencies.clock,
            random=self._dependencies.random,
            on_sync=self._on_sync,
        )
        async for event in events:
            self._on_event(event)
            if event.object is None and not self._added.is_set():
                self.listed.set()

    def _is_on_a_node(self, pod: RawObject) -> bool:
        if (node := pod.node) in self._dependencies.nodes:
            return True
        self._dropped.add(node)
        return False
