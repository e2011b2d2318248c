"""One node of the broker: its registration, lease and status.

A member waits until no other broker holds the lease of its node, registers the Node, and takes the lease. From
then on its pods are reconciled. The Node comes before the lease, because the Node owns the lease.

:meth:`Member.reconcile` is level-triggered, like that of a pod: it brings the Node in Kubernetes to the desired
one, whatever has changed. Only the renewal of the lease has a timer of its own, and connections of its own, so
that no number of registrations delays it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from broker.dependencies import Dependencies
from broker.faults import NONE
from broker.kubernetes.errors import ApiError, NotFound
from broker.node.lease import Lease
from broker.node.leases import Leases
from broker.node.manifest import NotReady
from broker.node.registration import Registration
from broker.node.report import completed
from broker.node.reporter import NodeReporter
from broker.node.status import NodeStatus
from broker.node_info import NodeInfo
from broker.node_spec import NodeSpec
from broker.pods.controller import PodController
from broker.pods.workqueue import WorkQueue
from broker.types import Object

PERIOD = 10.0
"""Seconds before a change by another client is undone: two that disagree write no faster."""
_CUT_OFF_POLL = 1.0
_SHUTDOWN = NotReady("NodeShutdown", "the broker has stopped; the pods continue when it runs again")

log = structlog.get_logger()


@dataclass(frozen=True)
class Shared:
    """Objects that the members share.

    Attributes:
        dependencies: of the broker.
        reporter: the provider's report.
        leases: reads the leases.
        registering: limits the number of registrations at once.
        port: port of the kubelet API.
        queue: names of nodes for which :meth:`Member.reconcile` is due.
        controller: reconciles the pods; learns of changes of a node's faults, of what is available to its pods,
            and of the end of an outage.
        on_active: is called with a member when its pods may be reconciled from now on.
    """

    dependencies: Dependencies
    reporter: NodeReporter
    leases: Leases
    registering: asyncio.Semaphore
    port: int
    queue: WorkQueue
    controller: PodController
    on_active: Callable[["Member"], None]


class Member:
    """A node of the broker.

    Args:
        shared: what the members have in common.
        spec: what the node is to be.

    Attributes:
        info: the node.
        lease: its lease.
        spec: what the node is to be.
        is_registered: whether the Node is registered, and kept as it is to be.
        removal: its removal in progress.
        returns: whether it is adopted again after its removal.
    """

    def __init__(self, shared: Shared, spec: NodeSpec) -> None:
        dependencies = shared.dependencies
        self._shared = shared
        self._random = dependencies.random
        self._faults = NONE
        self.is_registered = False
        self.removal: asyncio.Task[None] | None = None
        self.returns = False
        self.spec = spec
        self.info = NodeInfo(spec.name, spec.operating_system, start_delay=spec.start_delay)
        self.status = NodeStatus(dependencies, self.info, spec, reporter=shared.reporter, port=shared.port)
        self.registration = Registration(dependencies, self.info, spec, self.status)
        self._completed = spec
        self._is_stale = False
        self.lease = Lease(dependencies, self.info, leases=shared.leases, on_recovery=self._recover)

    async def run(self) -> None:
        """Register the node and renew its lease, until cancelled.

        Raises:
            LeaseLost: another broker has taken the lease.
            NotFound: a Node to adopt is gone.
        """
        if not self.registration.observed:
            await asyncio.sleep(self.spec.register_delay)
        await self.lease.wait_until_free()
        await self._shared.reporter.read(self.spec.name)
        self.apply_report()
        await self.registration.register(self._shared.registering)
        self.is_registered = True
        self._on_due(0)  # the status is written at the same time as the lease
        await self._until_not_cut_off()
        await self.lease.acquire()
        self.info.holds_lease = True
        self._shared.on_active(self)
        await self.lease.run()

    async def reconcile(self) -> float | None:
        """Bring the Node in Kubernetes to the desired one.

        Returns:
            Seconds until the next heartbeat of the status; None: the node is not registered.

        Raises:
            NotOurs: the Node was deleted, and somebody else has made another.
            ApiError: retry.
        """
        if not self.is_registered:
            return None
        self._apply_faults()
        if self.info.is_cut_off:
            return None
        if not self.info.uid:
            await self.registration.register_once()
        if self._is_stale:
            await self.registration.refresh()
            self._is_stale = False
        try:
            await self.registration.restore()
            await self.status.write_if_due()
        except NotFound:
            self.registration.mark_deleted()  # before the watch began
            raise
        return self.status.seconds_to_heartbeat

    def update(self, spec: NodeSpec) -> None:
        """Change what the node is to be."""
        self.spec = self.status.spec = spec
        self.info.start_delay = spec.start_delay
        self.apply_report()
        self._on_due(0)

    def apply_report(self) -> None:
        """Take a change of the provider's report into account."""
        self._update_resources()
        spec = completed(self.spec, self._shared.reporter.of(self.spec.name))
        is_changed = spec != self._completed
        if is_changed:
            self._completed = spec
            self.registration.update(spec)
        if self.is_registered and (is_changed or not self.status.is_current):
            self._on_due(0)

    def observe(self, node: Object) -> None:
        """Take a change of the Node by any client into account."""
        if not self.is_registered:
            self.registration.expect(node)
            return
        if not self.registration.is_ours(node):
            return
        self.registration.observe(node)
        self._apply_faults()
        is_changed = self._update_resources()  # by another client
        if not (self.registration.is_current and self.status.is_current):
            self._on_due(0 if is_changed else PERIOD)

    def give_up(self) -> None:
        """Write nothing from now on: neither the Node, its lease nor its pods."""
        self.is_registered = self.info.holds_lease = False

    def mark_deleted(self) -> None:
        """Register the deleted Node again, unless a fault forbids it."""
        self.registration.mark_deleted()
        if self.is_registered:
            again = "" if self.info.has_vanished else " and is registered again"
            self._shared.dependencies.node_log.warning(f"node was deleted from Kubernetes{again}", self.info.name)
            self._on_due(0)

    async def hand_over(self) -> None:
        """Mark the node not ready, and release its lease; Kubernetes and another broker would notice after 40 s.

        Raises:
            ApiError: the node could not be written.
            LeaseLost: another broker has taken the lease.
        """
        if self.is_registered and self.info.uid and not self.info.is_cut_off:
            await self.lease.renew()  # the node may have been taken over during a pause
            await self.status.write(self.status.current(_SHUTDOWN))
            await self.lease.release()

    async def release_lease(self) -> None:
        """Release the lease of a Node that stays, so that another broker does not wait for it."""
        if self.info.holds_lease and self.info.uid and not self.info.is_cut_off:
            try:
                await self.lease.release()
            except ApiError as exc:
                log.warning("lease of the node not released", node=self.info.name, error=str(exc))

    async def _until_not_cut_off(self) -> None:
        """Wait while a fault keeps the broker from taking the lease, as that of a node that is started again."""
        while self.info.is_cut_off:
            await asyncio.sleep(_CUT_OFF_POLL)

    def _update_resources(self) -> bool:
        """Update the resources of the node, and return whether pods have more or less room than before."""
        before = self.info.allocatable
        self.status.apply_report()
        is_changed = self.info.allocatable != before
        if is_changed:
            self._shared.controller.retry_waiting(self.info.name)
        return is_changed

    def _apply_faults(self) -> None:
        """Take a change of the node's faults into account at once."""
        faults, before = self.info.faults, self._faults
        if faults == before:
            return
        self._faults = faults
        for problem in set(faults.problems) - set(before.problems):
            log.warning("annotation of the node ignored", node=self.info.name, error=problem)
        log.info("faults of the node changed", node=self.info.name, faults=faults.describe())
        self._shared.controller.apply_faults(self.info.name)
        self._on_due(0)

    def _recover(self) -> None:
        """Catch up after an interruption of the lease: the API server could not be written to.

        The Node is read again, since the watch may be broken without a sign. Statuses of pods that could not be
        written are written now: their backoff may be minutes long.
        """
        self._is_stale = True
        self._on_due(0)
        self._shared.controller.retry_failed(self.info.name)

    def _on_due(self, seconds: float) -> None:
        if seconds:
            self._shared.queue.add_after(self.info.name, seconds)
        else:
            self._shared.queue.add(self.info.name)
