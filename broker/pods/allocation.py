"""Allocation of the node's resources: which pods are admitted, preempted and resized.

A pod is allocated the resources of its spec when it is admitted. When its spec is resized, it keeps them until the
node has room for the new ones. A pod that needs the room of pods on their way out waits for it, and so does a
critical pod for the pods that it preempts.

Source: `pkg/kubelet/allocation/allocation_manager.go`, `pkg/kubelet/lifecycle/predicate.go`.
"""

from typing import NamedTuple

import structlog

from broker.dependencies import Dependencies
from broker.kubernetes.errors import NotFound
from broker.node_info import NodeInfo
from broker.pods.accounting import Claims, ResourceLedger
from broker.pods.actions import UNKNOWN, PodVersion
from broker.pods.admission import (
    NODE_AFFINITY,
    Allocated,
    Rejection,
    admit,
    insufficient_resources,
    mismatches,
    requests,
    unsupported,
)
from broker.pods.conditions import RESIZE_PENDING
from broker.pods.events import EventRecorder
from broker.pods.host_ports import host_ports
from broker.pods.preemption import PREEMPTION, Candidate, Disruption, is_critical, pods_to_preempt
from broker.pods.pressure import rejection_under_pressure
from broker.pods.provider_state import ProviderState
from broker.pods.resize import (
    DEFERRED,
    Allocation,
    allocation_in,
    is_allocated,
    pending_condition,
    refusal,
    summary,
    with_allocation,
)
from broker.pods.store import PodSnapshot, PodStore
from broker.pods.workqueue import RetryLater, WorkQueue
from broker.types import Object

RESIZE_RETRY = 180.0
"""Seconds after which a resize is considered again although no pod has left: a kubelet's `retryDelay`."""
_ROOM_DELAY = 10.0
"""Longest delay in seconds between two reconciles of a pod that waits for room; the release itself causes one."""
_NOT_REGISTERED = "the node is not registered yet"
_NOT_LISTED = "the provider's pods are not listed yet"

log = structlog.get_logger()


class _PendingResize(NamedTuple):
    key: str
    rank: tuple[int, bool]
    condition: Object


class Allocator:
    """Admits pods to a node, ends pods for critical ones or under pressure, and grants resizes.

    Args:
        dependencies: of the broker.
        node: the node.
        claims: gets the pods that hold something.
        store: the pods that Kubernetes has.
        queue: gets the keys of pods to reconcile.
        events: records events of preemptions and resizes.

    Attributes:
        ledger: what the admitted pods hold.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        node: NodeInfo,
        *,
        claims: Claims,
        store: PodStore,
        queue: WorkQueue,
        events: EventRecorder,
    ) -> None:
        self._client = dependencies.client
        self._node = node
        self._store = store
        self._queue = queue
        self._events = events
        self.ledger = ResourceLedger(self.retry_waiting, index=claims)
        self._waiting: dict[str, None] = {}  # in the order of arrival
        self._disrupted: dict[str, tuple[str, Disruption]] = {}  # UID → namespace/name and cause
        self._pending: dict[str, _PendingResize] = {}

    def count(self, snapshot: PodSnapshot) -> None:
        """Record what a pod holds: the resources of its spec."""
        stored, pod = snapshot.stored, snapshot.pod
        self.ledger.admit(stored.uid, stored.key, requests(pod), host_ports(pod))

    async def admit(self, snapshot: PodSnapshot, state: ProviderState) -> Rejection | None:
        """Admit a new pod and record what it holds; a pod that ran before is always admitted.

        Raises:
            RetryLater: the node is not registered yet, the pod at the provider is not known yet, or the pod waits
                for the room of pods on their way out.
        """
        uid = snapshot.stored.uid
        if uid in self.ledger:
            return None
        if snapshot.stored.phase == "Pending" and not isinstance(state.pod, PodVersion):
            if not self._node.uid or not self._node.allocatable:
                raise RetryLater(_NOT_REGISTERED, at_most=1)
            if rejection := await self._check(snapshot, state):
                return rejection
            state.record_allocation(uid, allocation_in(snapshot.pod))
        self.count(snapshot)
        return None

    def recount(self, snapshot: PodSnapshot, state: ProviderState) -> None:
        """Record what a pod held before the broker restarted: its spec may have a resize that was not granted."""
        allocation = state.allocation(snapshot.stored.uid)
        if allocation is not None and snapshot.stored.uid in self.ledger:
            self._keep(snapshot, allocation)

    def allocate(self, snapshot: PodSnapshot, state: ProviderState) -> PodSnapshot:
        """Grant a resize of an admitted pod if the node has room for it.

        Returns:
            The pod with the resources that the node has allocated to it.

        Raises:
            RetryLater: the node is not registered yet, or the pod at the provider is not known yet.
        """
        pod, uid = snapshot.pod, snapshot.stored.uid
        allocation = state.allocation(uid)
        pending = _pending_in(pod)
        if allocation is None and state.pod is UNKNOWN and pending:
            self._set_pending(snapshot, pending)
            raise RetryLater(_NOT_LISTED, at_most=1)
        if allocation is None or is_allocated(pod, allocation):
            self._pending.pop(uid, None)
            return snapshot
        if not self._node.allocatable:
            if pending:
                self._set_pending(snapshot, pending)
            raise RetryLater(_NOT_REGISTERED, at_most=1)
        own = self.ledger.requested(uid), host_ports(pod)
        others = self.ledger.usage.without(*own)
        if why := refusal(pod, self._node, others):
            if why.reason == DEFERRED and is_critical(pod["spec"].get("priority")):
                self._make_room(pod, self.ledger.staying.without(*own))
            self._defer(snapshot, why)
            return self._keep(snapshot, allocation)
        self._pending.pop(uid, None)
        self.count(snapshot)
        state.record_allocation(uid, allocation_in(pod))
        state.acknowledge("")  # the provider needs the update, although this version may have been sent before
        self._events.record(pod, "Normal", "ResizeStarted", f"Pod resize started: {summary(pod)}")
        self.retry_waiting()  # the pod may hold less now
        return snapshot

    def pending_resize(self, uid: str) -> Object | None:
        """Return the condition of a resize that is not granted; None where there is none."""
        pending = self._pending.get(uid)
        return pending.condition if pending else None

    def running(self) -> list[Candidate]:
        """Return the admitted pods that are not on their way out."""
        return [
            Candidate.of(snapshot.pod, self.ledger.requested(uid))
            for uid, key in self.ledger.running.items()
            if (snapshot := self._store.snapshot(key)) and snapshot.stored.uid == uid
        ]

    def disrupt(self, pod: Candidate, cause: Disruption) -> None:
        """End a running pod; its reconcile does so."""
        self._disrupted = {uid: known for uid, known in self._disrupted.items() if self._runs(uid, known[0])}
        self._disrupted[pod.uid] = pod.key, cause
        self.ledger.mark_leaving(pod.uid)
        self._queue.add(pod.key)

    def disruption(self, uid: str) -> Disruption | None:
        """Return the cause for which the node ends a pod; None where it does not."""
        return self._disrupted[uid][1] if uid in self._disrupted else None

    async def _check(self, snapshot: PodSnapshot, state: ProviderState) -> Rejection | None:
        """Return why a new pod cannot run; None where it can now.

        Raises:
            RetryLater: the pod can run once pods on their way out have left, or it may run already.
        """
        pod = snapshot.pod
        under_pressure = rejection_under_pressure(pod, self._node)
        rejection = under_pressure or admit(pod, self._node, self.ledger.usage)
        if rejection and rejection.reason == NODE_AFFINITY and await self._read_node():
            rejection = admit(pod, self._node, self.ledger.usage)
        if rejection is None:
            return None
        if state.pod is UNKNOWN:
            raise RetryLater(_NOT_LISTED, at_most=1)
        if under_pressure:
            return under_pressure
        staying = self.ledger.staying
        if is_critical(pod["spec"].get("priority")):
            rejection = self._make_room(pod, staying)
        else:
            rejection = admit(pod, self._node, staying)
        if rejection is None:
            self._waiting[snapshot.stored.key] = None
            raise RetryLater("pods on their way out hold the room that the pod needs", at_most=_ROOM_DELAY)
        return rejection

    def _make_room(self, pod: Object, staying: Allocated) -> Rejection | None:
        """Preempt the pods that a critical pod needs to end; return why it cannot run even then."""
        if rejection := unsupported(pod, self._node) or next(mismatches(pod, self._node, staying.ports), None):
            return rejection
        missing = list(insufficient_resources(pod, self._node, staying.amounts))
        chosen = pods_to_preempt(pod["spec"].get("priority"), self.running(), missing)
        if isinstance(chosen, Rejection):
            return chosen
        for victim in chosen:
            log.info("pod is preempted", pod=victim.key, uid=victim.uid, by=pod["metadata"]["name"])
            self.disrupt(victim, PREEMPTION)
        return None

    def _runs(self, uid: str, key: str) -> bool:
        """Return whether Kubernetes has a pod that has not ended."""
        stored = self._store.get(key)
        return stored is not None and stored.uid == uid and not stored.has_ended

    def _keep(self, snapshot: PodSnapshot, allocation: Allocation) -> PodSnapshot:
        kept = PodSnapshot(snapshot.stored, with_allocation(snapshot.pod, allocation))
        self.count(kept)
        return kept

    def _defer(self, snapshot: PodSnapshot, why: Rejection) -> None:
        pod = snapshot.pod
        condition = pending_condition(pod, why)
        before = self.pending_resize(snapshot.stored.uid) or _pending_in(pod) or {}
        self._set_pending(snapshot, condition)
        if any(before.get(name) != condition[name] for name in ("reason", "observedGeneration")):
            message = f"Pod resize {why.reason}: {summary(pod, why.message)}"
            self._events.record(pod, "Warning", f"Resize{why.reason}", message)

    def _set_pending(self, snapshot: PodSnapshot, condition: Object) -> None:
        stored, pod = snapshot.stored, snapshot.pod
        rank = (-int(pod["spec"].get("priority") or 0), pod["status"].get("qosClass") != "Guaranteed")
        self._pending[stored.uid] = _PendingResize(stored.key, rank, condition)

    def retry_waiting(self) -> None:
        """Reconcile the pods that wait for room, in a kubelet's order: there may be more now."""
        self._pending = {uid: pending for uid, pending in self._pending.items() if uid in self.ledger}
        waiting, self._waiting = self._waiting, {}
        resizes = sorted(self._pending.values(), key=lambda pending: pending.rank)
        for key in (*waiting, *(pending.key for pending in resizes)):
            self._queue.add(key)

    async def _read_node(self) -> bool:
        """Read the Node: the watch may not have delivered the labels that the scheduler has seen."""
        try:
            self._node.observe(await self._client.get(f"/api/v1/nodes/{self._node.name}"))
        except NotFound:
            return False
        return True


def _pending_in(pod: Object) -> Object | None:
    conditions: list[Object] = (pod.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == RESIZE_PENDING), None)
