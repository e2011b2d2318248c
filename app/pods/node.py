"""The nodes of a fleet as the provider describes them: by its runtime, NODE_OVERRIDES and the free disk space."""

from datetime import datetime
from typing import Any

from app.core.errors import NotFound
from app.core.nodes import NodeOverride
from app.pods.context import FleetContext
from app.pods.queries import PodQueries


class NodeService:
    """Describes the nodes of a fleet. A name of None means the node NODE_NAME.

    Args:
        serving_since: when this server started; the same in all of its worker processes.
    """

    def __init__(self, fleet: FleetContext, queries: PodQueries, *, serving_since: datetime) -> None:
        self._fleet = fleet
        self._queries = queries
        self._serving_since = serving_since

    def capacity(self, node: str | None = None) -> dict[str, str]:
        """Return the capacity of a node, resource → quantity."""
        capacity = self._override(node).capacity
        return self._fleet.runtime.capacity() if capacity is None else dict(capacity)

    def known_capacity(self, node: str) -> dict[str, str]:
        """Return the capacity of a node as far as the provider knows it: that of NODE_NAME, or of NODE_OVERRIDES.

        Of any other node of a fleet, the broker decides: its pool may have a capacity of its own.
        """
        if node == self._fleet.name:
            return self.capacity(node)
        return dict(self._override(node).capacity or {})

    def is_known(self, node: str) -> bool:
        """Return whether a node is that of NODE_NAME, is described by NODE_OVERRIDES, or has or had a pod."""
        is_described = self._override(node) != NodeOverride()
        return node == self._fleet.name or is_described or self._queries.had_pods_on(node)

    def addresses(self, node: str | None = None) -> list[dict[str, str]]:
        """Return the addresses of a node as NodeAddress objects."""
        addresses = self._override(node).addresses
        return self._fleet.runtime.addresses() if addresses is None else [one.model_dump() for one in addresses]

    def description(self, node: str | None = None) -> dict[str, Any]:
        """Return `labels`, `taints` and `allocatable` of a node, without those of which the provider says nothing.

        Raises:
            NotFound: the provider says nothing of any node.
        """
        if not self._fleet.runtime.describes_nodes:
            raise NotFound("this provider describes no nodes: NODE_OVERRIDES is not set")
        fields = {"labels", "taints", "allocatable"}
        return self._override(node).model_dump(include=fields, exclude_none=True)

    def conditions(self) -> list[dict[str, Any]]:
        """Return the conditions of each node as NodeCondition objects. Never fails, needs no database."""
        now = self._fleet.clock.system()
        conditions = self._fleet.runtime.conditions(now=now, since=self._serving_since)
        return self._fleet.disk.with_pressure(conditions)

    def _override(self, node: str | None) -> NodeOverride:
        return self._fleet.runtime.node_override(node or self._fleet.name)
