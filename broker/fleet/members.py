"""The members of the broker: they come and go, and share a watch, a queue and its workers.

A member is a node of a pool, or a Node that the broker adopts. It is in one of three states:

* It waits, while its Node is not registered, or another broker holds its lease. With both, it becomes active.
* It is active: its pods are reconciled. It waits again when another broker takes the lease, or the Node turns
  out not to be the broker's.
* It is removed, once no pool has it, or its Node is deleted or no longer to be adopted: it is drained where its
  pool says so and stopped, its Node is deleted, and the broker waits for its pods to be gone. If it is wanted
  again before that, it waits as at first. If another broker takes its lease, the removal goes on when it is
  active again.

A node that was adopted is never drained, and its Node is not deleted.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from broker.dependencies import Dependencies
from broker.fleet.member import PERIOD, Member, Shared
from broker.fleet.pools import Fleet, adopted, member_of_fleet
from broker.fleet.removal import Removal
from broker.fleet.schema import DRAIN_LABEL, POOL_LABEL
from broker.fleet.source import FleetSource
from broker.kubernetes.errors import ApiError, NotFound
from broker.kubernetes.objects import RawObject
from broker.kubernetes.watch import KnownObjects, list_and_watch
from broker.node.lease import LeaseLost
from broker.node.leases import Leases
from broker.node.registration import NotOurs
from broker.node.report import NodeReporter
from broker.node_log import about
from broker.node_spec import FLEET_LABEL, NodeSpec
from broker.pods.controller import PodController
from broker.pods.eviction import UsageReader
from broker.pods.store import PodStore
from broker.pods.workqueue import WorkQueue
from broker.types import Object

_WORKERS = 16
"""Number of nodes that are registered, and of nodes that are written, at once."""
_HAND_OVER_TIMEOUT, _HAND_OVERS_PER_SECOND = 5.0, 50

log = structlog.get_logger()


class Members:
    """The nodes of the broker.

    Args:
        dependencies: of the broker; its `nodes` are updated.
        controller: reconciles the pods of the nodes.
        store: the pods of the nodes.
        reporter: the provider's report.
        leases: reads the leases.
        port: port of the kubelet API.
        only: name of the only node; None where there may be several.
        usage: returns the reader of a node's usage, where pods are evicted under pressure.

    Attributes:
        active: whether the pods of any node may be reconciled.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        controller: PodController,
        store: PodStore,
        reporter: NodeReporter,
        leases: Leases,
        port: int,
        only: str | None,
        usage: Callable[[str], UsageReader] | None = None,
    ) -> None:
        self._dependencies = dependencies
        self._log = dependencies.node_log
        self._controller = controller
        self._reporter = reporter
        self._shared = Shared(
            dependencies,
            reporter,
            leases,
            asyncio.Semaphore(_WORKERS),
            port,
            on_due=self._due,
            on_active=self._activate,
            on_faults=controller.apply_faults,
            on_allocatable=controller.retry_waiting,
        )
        self._only = only
        self._usage = usage
        self._members: dict[str, Member] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}  # of the members that wait or are active
        self._evictions: dict[str, asyncio.Task[None]] = {}  # of the active ones, where pods are evicted by usage
        self._removal = Removal(dependencies, store)
        self._removing: dict[str, asyncio.Task[None]] = {}
        self._returned: set[str] = set()  # adopted nodes that are to be adopted again after their removal
        self._wanted: dict[str, NodeSpec] = {}  # the nodes of the pools, by the last change of the fleet
        self._adopt: Mapping[str, str] = {}
        self._drains: Mapping[str, bool] = {}
        self._queue = WorkQueue("node")
        self._synced = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self.active = asyncio.Event()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def holding(self) -> list[Member]:
        """The nodes whose lease this broker holds."""
        return [member for member in self._members.values() if member.info.holds_lease]

    @property
    def waits_for(self) -> str | None:
        """Identity of a broker that runs a node at present; None where this one runs any, or there is none."""
        if self.holding:
            return None
        return next((member.lease.other for member in self._members.values() if member.lease.other), None)

    async def run(self, fleet: Fleet, source: FleetSource | None = None) -> None:
        """Run the nodes, until cancelled.

        Args:
            fleet: the first nodes.
            source: its changes are applied.

        Raises:
            LeaseLost: another broker has taken the lease of the only node.
        """
        await self._reporter.poll()
        try:
            async with self._group as group:
                group.create_task(self._watch(), name="watch of nodes")
                group.create_task(self._queue.run(self._reconcile, workers=_WORKERS), name="nodes")
                group.create_task(self._reporter.run(self._apply_report), name="report of the provider")
                self.apply(fleet)
                if source:
                    group.create_task(source.run(self.apply), name="changes of the fleet")
        except* LeaseLost as lost:
            raise lost.exceptions[0] from None

    def apply(self, fleet: Fleet) -> None:
        """Add, change and remove nodes, until there are these and the adopted ones."""
        self._wanted, self._adopt = {spec.name: spec for spec in fleet.specs}, fleet.adopt
        self._drains = fleet.drains
        for spec in self._wanted.values():
            member = self._members.get(spec.name)
            if member is None:
                self._add(spec)
            elif member.spec.is_adopted:
                self._log.warning("node of a pool not registered: one of its name is adopted", spec.name)
            elif member.spec != spec and spec.name not in self._removing:
                member.update(spec)
        for name, member in list(self._members.items()):
            if name not in self._wanted and not member.spec.is_adopted:
                member.spec = self._leaving(member.spec)  # a drain in progress ends where it is not wanted anymore
                self._remove(name)
        has_adopted = any(member.spec.is_adopted for member in self._members.values())
        if (fleet.adopt or has_adopted) and self._synced.is_set():
            self._group.create_task(self._adopt_existing(), name="adoption of nodes")

    async def hand_over(self) -> None:
        """Mark the nodes not ready, and release their leases, as far as time permits."""
        timeout = _HAND_OVER_TIMEOUT + len(self._members) / _HAND_OVERS_PER_SECOND
        failed: dict[str, str] = {}
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(_hand_over(member, failed) for member in self._members.values()))
        except TimeoutError:
            log.warning("nodes not marked as stopped", error="no answer in time")
        self._log.flush()
        if failed:  # one message: the cause, such as an API server that is gone, is mostly that of all
            log.warning("nodes not marked as stopped", **about(failed), error=next(iter(failed.values())))

    def _add(self, spec: NodeSpec) -> None:
        """Add a node."""
        member = self._members[spec.name] = Member(self._shared, spec)
        self._dependencies.nodes.add(member.info)
        self._controller.add_node(spec.name)
        self._start(member)

    def _start(self, member: Member) -> None:
        name = member.info.name
        self._runs[name] = self._group.create_task(self._run(member), name=f"node {name}")

    async def _run(self, member: Member) -> None:
        """Run a node. One that another broker has taken over is given up; in a fleet, it waits like any other."""
        name = member.info.name
        if not self._only:
            await self._synced.wait()  # a Node that is known to exist is not read again
        while True:
            try:
                await member.run()
            except NotFound:
                self._remove(name)
                return
            except LeaseLost as lost:
                if self._only:
                    raise
                self._give_up(member, str(lost))

    def _give_up(self, member: Member, reason: str) -> None:
        """End what is done for a node, except its run."""
        name = member.info.name
        self._log.error("node given up until it is free", name, reason=reason)
        member.give_up()
        if removal := self._removing.pop(name, None):
            removal.cancel()  # it goes on when the lease is taken again
        if eviction := self._evictions.pop(name, None):
            eviction.cancel()

    def _restart(self, member: Member, reason: str) -> None:
        """Stop reconciling a node, and try again to register it."""
        if run := self._runs.get(member.info.name):
            self._give_up(member, reason)
            run.cancel()
            self._start(member)

    def _remove(self, name: str) -> None:
        """Remove a node; later, where another broker runs it at present."""
        member = self._members.get(name)  # None: removed while it was reconciled
        if member and name not in self._removing and member.lease.other is None:
            self._removing[name] = self._group.create_task(self._remove_in_order(name), name=f"removal of {name}")

    async def _remove_in_order(self, name: str) -> None:
        """Remove a node in order: drain it, stop it, delete it, and wait until its pods are gone."""
        member = self._members[name]
        if member.info.holds_lease:
            await self._controller.listed.wait()  # after a restart, its pods are not known yet
        if member.spec.drain and not await self._removal.drain(
            name, unless=lambda: name in self._wanted, wanted=lambda: member.spec.drain
        ):
            del self._removing[name]
            member.update(self._wanted[name])
            return
        async with member.lease.creating:  # the lease would come after its deletion
            tasks = [task for task in (self._runs.pop(name), self._evictions.pop(name, None)) if task]
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)
        if member.spec.is_adopted:
            await _release(member)  # the Node stays, and another broker may adopt it
        is_registered, member.is_registered = member.is_registered, False
        if is_registered and not member.spec.is_adopted:
            await self._removal.delete(name, member.info.uid)
            member.registration.mark_deleted()
        done = "given up" if member.spec.is_adopted else "removed"
        if pods := self._removal.count_pods(name):
            event = f"node {done}; the broker waits until Kubernetes has deleted its pods"
            self._log.info(event, name, pods=pods)
        await self._removal.wait_for_pods(name, unless=lambda: self._returning(name) is not None)
        del self._removing[name]
        if spec := self._returning(name):
            self._log.info("node returns", name)
            self._returned.discard(name)
            member.update(spec)
            self._start(member)
            return
        del self._members[name]
        self._dependencies.nodes.remove(name)
        self._controller.remove_node(name)
        self._log.info(f"node {done}", name)
        node = member.registration.observed
        if node and not member.spec.is_adopted and member.registration.is_ours(node):
            self._handle(node)  # its creation was cancelled before the answer came

    def _leaving(self, spec: NodeSpec) -> NodeSpec:
        """Return a node that its pool no longer has; what the pool says now decides whether it is drained."""
        return replace(spec, drain=self._drains.get(spec.pool, spec.drain))

    def _returning(self, name: str) -> NodeSpec | None:
        """Return what a node that was removed is to be from now on, with the pods that it still has."""
        if name in self._returned:
            return adopted(self._dependencies.settings, name)
        return self._wanted.get(name)

    def _activate(self, name: str) -> None:
        self.active.set()
        self._controller.resume(name)
        if name in self._wanted:
            uncordon = self._removal.uncordon(self._members[name].registration.observed)
            self._group.create_task(uncordon, name=f"uncordon {name}")
        elif not self._members[name].spec.is_adopted:
            self._remove(name)
        if self._usage:
            evict = self._controller.evict(name, self._usage(name))
            self._evictions[name] = self._group.create_task(evict, name=f"evict pods of {name}")

    def _due(self, name: str, seconds: float) -> None:
        if seconds:
            self._queue.add_after(name, seconds)
        else:
            self._queue.add(name)

    async def _reconcile(self, name: str) -> float | None:
        if (member := self._members.get(name)) is None:
            return None
        try:
            delay = await member.reconcile()
        except NotOurs as exc:
            self._restart(member, str(exc))
            return None
        except NotFound:
            if not member.spec.is_adopted:
                raise
            self._remove(name)
            return None
        return min(delay, PERIOD) if delay is not None and self._usage else delay

    def _apply_report(self) -> None:
        for member in self._members.values():
            member.apply_report()

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
                self._synced.set()
            elif type_ == "DELETED":
                self._handle_deleted(obj.metadata.name)
            else:
                self._handle(obj.decode())

    def _concerns(self, node: RawObject) -> bool:
        """Return whether a Node is one of the broker's; those of others are dropped before they are decoded."""
        return node.metadata.name in self._members or (self._only is None and self._is_ours(node.marks))

    def _is_ours(self, marks: Mapping[str, str]) -> bool:
        """Return whether a Node with these labels and annotations is adopted, or was made for the fleet."""
        return self._is_adopted(marks) or marks.get(FLEET_LABEL) == self._dependencies.settings.node_name

    def _is_adopted(self, marks: Mapping[str, str]) -> bool:
        return bool(self._adopt) and self._adopt.items() <= marks.items()

    def _handle(self, node: Object) -> None:
        metadata = node["metadata"]
        name = metadata["name"]
        marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
        member = self._members.get(name)
        if member is None:
            self._add_existing(node, marks)
        elif member.spec.is_adopted and not self._is_adopted(marks):
            self._returned.discard(name)
            self._remove(name)
        elif member.spec.is_adopted and name in self._removing:
            self._returned.add(name)
            member.registration.expect(node)
        else:
            member.observe(node)

    def _handle_deleted(self, name: str) -> None:
        self._returned.discard(name)
        member = self._members.get(name)
        if member and member.spec.is_adopted:
            member.registration.mark_deleted()
            self._remove(name)
        elif member:
            member.mark_deleted()

    def _add_existing(self, node: Object, marks: Mapping[str, str]) -> None:
        """Adopt a Node; or remove one whose pool was made smaller while no broker ran, once its lease is taken."""
        settings, name = self._dependencies.settings, node["metadata"]["name"]
        if self._is_adopted(marks):
            spec = adopted(settings, name)
        else:
            drain, pool = marks.get(DRAIN_LABEL) == "true", marks.get(POOL_LABEL, "")
            spec = replace(member_of_fleet(settings, name), drain=drain, pool=pool, is_leaving=True)
            spec = self._leaving(spec)
        self._add(spec)
        self._members[name].observe(node)

    async def _adopt_existing(self) -> None:
        """Read the Nodes again, to adopt those that are to be adopted now, and to give up those that are not."""
        try:
            items, _ = await self._dependencies.client.list("/api/v1/nodes")
        except ApiError as exc:
            log.warning("nodes to adopt not read", error=str(exc))
            return
        for item in items:
            member = self._members.get(item.metadata.name)
            if self._is_adopted(item.marks) or (member and member.spec.is_adopted):
                self._handle(item.decode())


async def _hand_over(member: Member, failed: dict[str, str]) -> None:
    """Hand a node over; record the error where that fails."""
    try:
        await member.hand_over()
    except (ApiError, LeaseLost) as exc:
        failed[member.info.name] = str(exc)


async def _release(member: Member) -> None:
    try:
        await member.release_lease()
    except ApiError as exc:
        log.warning("lease of the node not released", node=member.info.name, error=str(exc))
