"""Eviction of pods under pressure: the node ends one pod after another until enough of each resource is left.

Every ten seconds the usage of the node is compared with its thresholds. Where one is met, the first pod in the
order of :mod:`broker.pods.pressure` is evicted. The next comparison follows when that pod has ended, so that
its usage is not counted again. Pods on their way out and critical pods are not evicted.

The conditions of the node hold for a while after the last time that a threshold was met. Without that, the
scheduler would at once bind the replacement of an evicted pod to the same node.

Source: `synchronize` and `waitForPodsCleanup` in `pkg/kubelet/eviction/eviction_manager.go`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.kubernetes.quantity import amounts
from broker.node_info import NodeInfo
from broker.pods.admission import Rejection
from broker.pods.allocation import Allocator
from broker.pods.events import EventRecorder, Kind
from broker.pods.preemption import Candidate, Disruption, is_critical
from broker.pods.pressure import (
    CONDITIONS,
    DISK,
    EVICTED,
    MEMORY,
    PIDS,
    NodeUsage,
    Shortage,
    eviction_message,
    eviction_order,
    parse_thresholds,
)
from broker.pods.store import PodStore

_INTERVAL = 10.0
"""Seconds between two reads of the usage."""
_CLEANUP_TIMEOUT, _CLEANUP_INTERVAL = 30.0, 1.0
"""Seconds for which the end of an evicted pod is awaited, and between two checks of it."""
_GRACE = 1
"""Grace period in seconds of a pod that is evicted by a hard threshold: a kubelet's."""
_EVENTS = {
    MEMORY: ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    DISK: ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
    PIDS: ("NodeHasSufficientPID", "NodeHasInsufficientPID"),
}
"""Reasons of the node's events, without and with the pressure, from `pkg/kubelet/nodestatus/setters.go`."""

UsageReader = Callable[[], Awaitable[NodeUsage]]
"""Reads the usage of the node from the provider; raises ProviderError."""

log = structlog.get_logger()


class EvictionManager:
    """Evicts pods of one node by the setting `EVICTION_HARD`.

    Args:
        dependencies: of the broker.
        node: the node, whose pressures are updated.
        store: the pods that Kubernetes has.
        allocator: knows the running pods, and has pods end.
        events: records events on the node.
        usage: reads the usage of the node.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        node: NodeInfo,
        *,
        store: PodStore,
        allocator: Allocator,
        events: EventRecorder,
        usage: UsageReader,
    ) -> None:
        settings = dependencies.settings
        self._node = node
        self._clock = dependencies.clock
        self._store = store
        self._allocator = allocator
        self._events = events
        self._usage = usage
        self._thresholds = parse_thresholds(settings.eviction_hard)
        self._transition_period = timedelta(seconds=settings.eviction_pressure_transition_period)
        self._met_at: dict[str, datetime] = {}

    async def run(self) -> None:
        """Compare usage with thresholds and evict pods, until cancelled."""
        while True:
            if evicted := await self.synchronize():
                await self._wait_for_end(evicted)
            else:
                await asyncio.sleep(_INTERVAL)

    async def synchronize(self) -> Candidate | None:
        """Update the pressures of the node, and evict a pod where a threshold is met.

        Returns:
            The evicted pod; None where none is evicted.
        """
        try:
            usage = await self._usage()
        except ProviderError as exc:
            log.warning("usage not read for eviction", error=str(exc))
            return None
        capacity = amounts(self._node.capacity)
        shortages = [found for threshold in self._thresholds if (found := threshold.shortage(usage, capacity))]
        self._update_pressures({shortage.resource for shortage in shortages})
        if not shortages:
            return None
        self._record("Warning", "EvictionThresholdMet", f"Attempting to reclaim {shortages[0].resource}")
        return self._evict(shortages[0], usage)

    def _update_pressures(self, short: set[str]) -> None:
        now, before = self._clock(), self._node.measured_pressures
        self._met_at |= dict.fromkeys(short, now)
        pressures = {}
        for resource in (threshold.resource for threshold in self._thresholds):
            met_at, condition = self._met_at.get(resource), CONDITIONS[resource]
            holds = met_at is not None and (resource in short or now - met_at < self._transition_period)
            pressures[condition] = holds
            if holds != before.get(condition, False):
                reason = _EVENTS[resource][holds]
                self._record("Normal", reason, f"Node {self._node.name} status is now: {reason}")
        self._node.measured_pressures = pressures

    def _evict(self, shortage: Shortage, usage: NodeUsage) -> Candidate | None:
        for pod in eviction_order(shortage.resource, self._allocator.running(), usage):
            snapshot = self._store.snapshot(pod.key)
            if snapshot is None or is_critical(pod.priority):
                continue
            message = eviction_message(shortage, snapshot.pod, usage.pods.get(pod.uid))
            log.info("pod is evicted", pod=pod.key, uid=pod.uid, resource=shortage.resource)
            self._allocator.disrupt(pod, Disruption(Rejection(EVICTED, message), message, grace=_GRACE))
            self._node.evictions[shortage.signal] += 1
            return pod
        log.warning("no pod can be evicted", resource=shortage.resource)
        return None

    async def _wait_for_end(self, pod: Candidate) -> None:
        deadline = asyncio.get_running_loop().time() + _CLEANUP_TIMEOUT
        while pod.uid in self._allocator.ledger and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_CLEANUP_INTERVAL)
        await asyncio.sleep(_CLEANUP_INTERVAL)

    def _record(self, kind: Kind, reason: str, message: str) -> None:
        node = {"kind": "Node", "metadata": {"name": self._node.name, "uid": self._node.uid}}
        self._events.record(node, kind, reason, message)
