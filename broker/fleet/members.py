"""The members of the broker: their states, and the queue and the workers that they share.

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
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from broker.dependencies import Dependencies
from broker.fleet.member import PERIOD, Member, Shared
from broker.fleet.pools import adopted
from broker.fleet.removal import Removal
from broker.kubernetes.errors import ApiError, NotFound
from broker.node.lease import LeaseLost
from broker.node.leases import Leases
from broker.node.registration import NotOurs
from broker.node.reporter import NodeReporter
from broker.node_log import about
from broker.node_spec import NodeSpec
from broker.pods.controller import PodController
from broker.pods.eviction import UsageReader
from broker.pods.store import PodStore
from broker.pods.workqueue import WorkQueue

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
        usage: returns the reader of a node's usage, where pods are evicted under pressure.

    Attributes:
        by_name: the nodes.
        wanted: the nodes of the pools; others, except the adopted ones, are to be removed.
        listed: whether all Nodes have been observed that exist.
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
        usage: Callable[[str], UsageReader] | None = None,
    ) -> None:
        self._dependencies = dependencies
        self._log = dependencies.node_log
        self._controller = controller
        self._reporter = reporter
        self._queue = WorkQueue("node")
        registering = asyncio.Semaphore(_WORKERS)
        self._shared = Shared(
            dependencies, reporter, leases, registering, port, self._queue, controller, on_active=self._activate
        )
        self._only = dependencies.settings.only_node
        self._usage = usage
        self._runs: dict[str, asyncio.Task[None]] = {}  # of the members that wait or are active
        self._evictions: dict[str, asyncio.Task[None]] = {}  # of the active ones, where pods are evicted by usage
        self._removal = Removal(dependencies, store)
        self._group = asyncio.TaskGroup()
        self.by_name: dict[str, Member] = {}
        self.wanted: Mapping[str, NodeSpec] = {}
        self.listed = asyncio.Event()
        self.active = asyncio.Event()

    @property
    def holding(self) -> list[Member]:
        """The nodes whose lease this broker holds."""
        return [member for member in self.by_name.values() if member.info.holds_lease]

    @property
    def waits_for(self) -> str | None:
        """Identity of a broker that runs a node at present; None where this one runs any, or there is none."""
        if self.holding:
            return None
        return next((member.lease.other for member in self.by_name.values() if member.lease.other), None)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[asyncio.TaskGroup]:
        """Run the nodes until cancelled, and yield the tasks.

        Raises:
            LeaseLost: another broker has taken the lease of the only node.
        """
        await self._reporter.poll()
        try:
            async with self._group as group:
                group.create_task(self._queue.run(self._reconcile, workers=_WORKERS), name="nodes")
                group.create_task(self._reporter.run(self._apply_report), name="report of the provider")
                yield group
        except* LeaseLost as lost:
            raise lost.exceptions[0] from None

    def add(self, spec: NodeSpec) -> Member:
        """Add a node."""
        member = self.by_name[spec.name] = Member(self._shared, spec)
        self._dependencies.nodes.add(member.info)
        self._controller.add_node(spec.name)
        self._start(member)
        return member

    def remove(self, member: Member) -> None:
        """Remove a node; later, where another broker runs it at present."""
        name, member.returns = member.info.name, False
        is_known = self.by_name.get(name) is member  # it may have been removed while it was reconciled
        if is_known and not member.removal and member.lease.other is None:
            removal = self._remove_in_order(member)
            member.removal = self._group.create_task(removal, name=f"removal of {name}")

    async def hand_over(self) -> None:
        """Mark the nodes not ready, and release their leases, as far as time permits."""
        timeout = _HAND_OVER_TIMEOUT + len(self.by_name) / _HAND_OVERS_PER_SECOND
        failed: dict[str, str] = {}
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(_hand_over(member, failed) for member in self.by_name.values()))
        except TimeoutError:
            log.warning("nodes not marked as stopped", error="no answer in time")
        self._log.flush()
        if failed:  # one message: the cause, such as an API server that is gone, is mostly that of all
            log.warning("nodes not marked as stopped", **about(failed), error=next(iter(failed.values())))

    def _start(self, member: Member) -> None:
        self._runs[member.info.name] = self._group.create_task(self._run(member), name=f"node {member.info.name}")

    async def _run(self, member: Member) -> None:
        """Run a node. One that another broker has taken over is given up; in a fleet, it waits like any other."""
        if not self._only:
            await self.listed.wait()  # a Node that is known to exist is not read again
        while True:
            try:
                await member.run()
            except NotFound:
                self.remove(member)
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
        if member.removal:
            member.removal.cancel()  # it goes on when the lease is taken again
            member.removal = None
        if eviction := self._evictions.pop(name, None):
            eviction.cancel()

    async def _remove_in_order(self, member: Member) -> None:
        """Remove a node in order: drain it, stop it, delete it, and wait until its pods are gone."""
        name = member.info.name
        if member.info.holds_lease:
            await self._controller.listed.wait()  # after a restart, its pods are not known yet
        if member.spec.drain and not await self._removal.drain(
            name, unless=lambda: name in self.wanted, wanted=lambda: member.spec.drain
        ):
            member.removal = None
            member.update(self.wanted[name])
            return
        async with member.lease.creating:  # the lease would come after its deletion
            tasks = [task for task in (self._runs.pop(name), self._evictions.pop(name, None)) if task]
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)
        if member.spec.is_adopted:
            await member.release_lease()  # the Node stays, and another broker may adopt it
        is_registered, member.is_registered = member.is_registered, False
        if is_registered and not member.spec.is_adopted:
            await self._removal.delete(name, member.info.uid)
            member.registration.mark_deleted()
        done = "given up" if member.spec.is_adopted else "removed"
        await self._removal.wait_for_pods(name, done, unless=lambda: self._returning(member) is not None)
        member.removal = None
        if spec := self._returning(member):
            self._log.info("node returns", name)
            member.returns = False
            member.update(spec)
            self._start(member)
            return
        del self.by_name[name]
        self._dependencies.nodes.remove(name)
        self._controller.remove_node(name)
        self._log.info(f"node {done}", name)
        node = member.registration.observed
        if node and not member.spec.is_adopted and member.registration.is_ours(node):
            # Its creation was cancelled before the answer came.
            self.add(replace(member.spec, is_leaving=True)).observe(node)

    def _returning(self, member: Member) -> NodeSpec | None:
        """Return what a node that was removed is to be from now on, with the pods that it still has."""
        if member.returns:
            return adopted(self._dependencies.settings, member.info.name)
        return self.wanted.get(member.info.name)

    def _activate(self, member: Member) -> None:
        name = member.info.name
        self.active.set()
        self._controller.resume(name)
        if name in self.wanted:
            uncordon = self._removal.uncordon(member.registration.observed)
            self._group.create_task(uncordon, name=f"uncordon {name}")
        elif not member.spec.is_adopted:
            self.remove(member)
        if self._usage:
            evict = self._controller.evict(name, self._usage(name))
            self._evictions[name] = self._group.create_task(evict, name=f"evict pods of {name}")

    async def _reconcile(self, name: str) -> float | None:
        if (member := self.by_name.get(name)) is None:
            return None
        try:
            delay = await member.reconcile()
        except NotOurs as exc:
            if run := self._runs.get(name):
                self._give_up(member, str(exc))
                run.cancel()
                self._start(member)  # it waits until the Node is gone
            return None
        except NotFound:
            if not member.spec.is_adopted:
                raise
            self.remove(member)
            return None
        return min(delay, PERIOD) if delay is not None and self._usage else delay

    def _apply_report(self) -> None:
        for member in self.by_name.values():
            member.apply_report()


async def _hand_over(member: Member, failed: dict[str, str]) -> None:
    """Hand a node over; record the error where that fails."""
    try:
        await member.hand_over()
    except (ApiError, LeaseLost) as exc:
        failed[member.info.name] = str(exc)
