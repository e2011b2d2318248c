"""Decides which nodes the broker has: those of its pools, and the Nodes that it adopts.

The pools may change while the broker runs. The Nodes are watched: to adopt those with the labels or annotations of
`adopt`, to notice changes by other clients, and to remove those whose pool was made smaller while no broker ran.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from broker.dependencies import Dependencies
from broker.fleet.members import Members
from broker.fleet.pools import Fleet, adopted, member_of_fleet
from broker.fleet.schema import DRAIN_LABEL, POOL_LABEL
from broker.fleet.source import FleetSource
from broker.kubernetes.errors import ApiError
from broker.kubernetes.objects import RawObject
from broker.kubernetes.watch import KnownObjects, list_and_watch
from broker.node_spec import FLEET_LABEL, NodeSpec

log = structlog.get_logger()


class FleetController:
    """Adds, changes and removes nodes.

    Args:
        dependencies: of the broker.
        members: the nodes.
    """

    def __init__(self, dependencies: Dependencies, members: Members) -> None:
        self._dependencies = dependencies
        self._members = members
        self._only = dependencies.settings.only_node
        self._adopt: Mapping[str, str] = {}
        self._drains: Mapping[str, bool] = {}
        self._group = asyncio.TaskGroup()

    async def run(self, fleet: Fleet, source: FleetSource | None = None) -> None:
        """Run the nodes of a fleet and of its later versions, until cancelled.

        Raises:
            LeaseLost: another broker has taken the lease of the only node.
        """
        async with self._members.running() as self._group:
            self._group.create_task(self._watch(), name="watch of nodes")
            self._apply(fleet)
            if source:
                self._group.create_task(source.run(self._apply), name="changes of the fleet")

    def _apply(self, fleet: Fleet) -> None:
        """Add, change and remove nodes, until there are these and the adopted ones."""
        self._adopt, self._drains = fleet.adopt, fleet.drains
        self._members.wanted = {spec.name: spec for spec in fleet.specs}
        for spec in fleet.specs:
            member = self._members.by_name.get(spec.name)
            if member is None:
                self._members.add(spec)
            elif member.spec.is_adopted:
                message = "node of a pool not registered: one of its name is adopted"
                self._dependencies.node_log.warning(message, spec.name)
            elif member.spec != spec and not member.removal:
                member.update(spec)
        for member in self._members.by_name.values():
            if not member.spec.is_adopted and member.info.name not in self._members.wanted:
                member.spec = self._leaving(member.spec)  # a drain in progress ends where it is not wanted anymore
                self._members.remove(member)
        has_adopted = any(member.spec.is_adopted for member in self._members.by_name.values())
        if (fleet.adopt or has_adopted) and self._members.listed.is_set():
            self._group.create_task(self._adopt_existing(), name="adoption of nodes")

    def _leaving(self, spec: NodeSpec) -> NodeSpec:
        """Return a node that its pool no longer has; what the pool says now decides whether it is drained."""
        return replace(spec, drain=self._drains.get(spec.pool, spec.drain))

    async def _adopt_existing(self) -> None:
        """Read the Nodes again, to adopt those that are to be adopted now, and to give up those that are not."""
        try:
            items, _ = await self._dependencies.client.list("/api/v1/nodes")
        except ApiError as exc:
            log.warning("nodes to adopt not read", error=str(exc))
            return
        for item in items:
            member = self._members.by_name.get(item.metadata.name)
            if self._is_adopted(item) or (member and member.spec.is_adopted):
                self._handle(item)

    async def _watch(self) -> None:
        events = list_and_watch(
            self._dependencies.client,
            "/api/v1/nodes",
            field_selector=f"metadata.name={self._only}" if self._only else None,
            known=KnownObjects(self._concerns),
            clock=self._dependencies.clock,
            random=self._dependencies.random,
        )
        async for type_, obj in events:
            if obj is None:
                self._members.listed.set()
            elif type_ == "DELETED":
                self._handle_deleted(obj.metadata.name)
            else:
                self._handle(obj)

    def _concerns(self, node: RawObject) -> bool:
        """Return whether a Node is one of the broker's; those of others are dropped before they are decoded."""
        fleet = self._dependencies.settings.node_name
        return node.metadata.name in self._members.by_name or (
            self._only is None and (self._is_adopted(node) or node.marks.get(FLEET_LABEL) == fleet)
        )

    def _is_adopted(self, node: RawObject) -> bool:
        """Return whether a Node has the labels and annotations of those to adopt."""
        return bool(self._adopt) and self._adopt.items() <= node.marks.items()

    def _handle(self, node: RawObject) -> None:
        member = self._members.by_name.get(node.metadata.name)
        if member is None:
            self._members.add(self._existing(node)).observe(node.decode())
        elif member.spec.is_adopted and not self._is_adopted(node):
            self._members.remove(member)
        elif member.spec.is_adopted and member.removal:
            member.returns = True
            member.registration.expect(node.decode())
        else:
            member.observe(node.decode())

    def _existing(self, node: RawObject) -> NodeSpec:
        """Return a Node to adopt; or one to remove, since its pool was made smaller while no broker ran."""
        settings, name, marks = self._dependencies.settings, node.metadata.name, node.marks
        if self._is_adopted(node):
            return adopted(settings, name)
        drain, pool = marks.get(DRAIN_LABEL) == "true", marks.get(POOL_LABEL, "")
        return self._leaving(replace(member_of_fleet(settings, name), drain=drain, pool=pool, is_leaving=True))

    def _handle_deleted(self, name: str) -> None:
        member = self._members.by_name.get(name)
        if member and member.spec.is_adopted:
            member.registration.mark_deleted()
            self._members.remove(member)
        elif member:
            member.mark_deleted()
