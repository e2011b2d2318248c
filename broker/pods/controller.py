"""The pod controller: reconciles the pods at the provider with the pods that Kubernetes has on the broker's nodes.

The controller is level-triggered. An event of the watch, a changed status or a timer only adds the key of a pod to
the work queue; :meth:`PodController.reconcile` then compares the pod in Kubernetes with the state at the provider,
whatever events led to them. A missed or repeated event therefore does no harm.

One watch and one queue serve the pods of all nodes. A pod whose node is not active is held: nothing is read or
written for it until :meth:`PodController.resume`.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.errors import BrokerError, ProviderError
from broker.kubernetes.objects import RawObject
from broker.kubernetes.pods import pod_path
from broker.kubernetes.watch import Event
from broker.nodes import node_name
from broker.pods.actions import Action, PodVersion, decide, grace_period
from broker.pods.active_deadline import DEADLINE_EXCEEDED, ActiveDeadline
from broker.pods.admission import Rejection
from broker.pods.allocation import RESIZE_RETRY
from broker.pods.allocators import Allocators
from broker.pods.conditions import is_resizing
from broker.pods.deletion import PodDeletion, delete_now
from broker.pods.events import EventRecorder
from broker.pods.eviction import EvictionManager, UsageReader
from broker.pods.failure import PodFailure
from broker.pods.object_cache import ObjectCache
from broker.pods.prerequisites import PodWaits, Prerequisites, waits_for
from broker.pods.provider_state import ProviderState, ProviderStates
from broker.pods.provider_sync import PodRefused, ProviderSync
from broker.pods.resize import summary
from broker.pods.service_watcher import ServiceWatcher
from broker.pods.status_source import StatusSource
from broker.pods.status_writer import StatusWriter
from broker.pods.store import PodSnapshot, PodStore
from broker.pods.termination import PodTermination
from broker.pods.waiting_status import waiting_status, with_messages
from broker.pods.watch import PodWatch
from broker.pods.workqueue import WorkQueue
from broker.types import Object

_SHORTEST_DELAY, _LONGEST_DELAY = 0.2, 30.0
_STUBBORN_DELAY = 1.0
"""Seconds between two attempts to end a pod that outlives its grace period."""

log = structlog.get_logger()


class PodController:
    """Reconciles the pods of the nodes. Pods wait until their node is active.

    Args:
        dependencies: of the broker.
        store: gets the pods of the nodes.
        on_sync: is called with the current time whenever the store is known to be complete.
        on_event_dropped: is called with the type of each event that is not written because too many wait.

    Attributes:
        listed: is set when the pods of all nodes have been listed.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        store: PodStore,
        on_sync: Callable[[datetime], None] = lambda _: None,
        on_event_dropped: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._dependencies = dependencies
        self._settings = dependencies.settings
        self._nodes = dependencies.nodes
        self._store = store
        self._watch = PodWatch(dependencies, on_sync=on_sync, on_event=self._handle)
        self.listed = self._watch.listed
        self._queue = WorkQueue()
        self._deadline = ActiveDeadline(dependencies)
        self._events = EventRecorder(
            dependencies,
            is_busy=lambda: len(self._queue) > 0 or self._writer.in_progress > 0,
            on_drop=on_event_dropped,
        )
        self._writer = StatusWriter(dependencies, store, self._events)
        self._allocators = Allocators(dependencies, store=store, queue=self._queue, events=self._events)
        self._claims = self._allocators.claims
        self._states = ProviderStates(store, on_end=self._claims.release)
        self._held: dict[str, set[str]] = {}  # node → keys
        self._listed = asyncio.Event()
        self._ready = asyncio.Event()
        self._services = ServiceWatcher()
        self._objects = ObjectCache(dependencies, on_change=self._object_changed)
        self._prerequisites = Prerequisites(
            dependencies, services=self._services, objects=self._objects, events=self._events
        )
        self._statuses = StatusSource(
            dependencies.provider, self._states, self._queue, interval=self._settings.status_interval
        )
        self._sync = ProviderSync(
            dependencies,
            prerequisites=self._prerequisites,
            events=self._events,
            statuses=self._statuses,
        )
        self._termination = PodTermination(
            dependencies, sync=self._sync, statuses=self._statuses, events=self._events
        )
        self._deletion = PodDeletion(dependencies, termination=self._termination, writer=self._writer)
        self._failure = PodFailure(
            dependencies,
            termination=self._termination,
            writer=self._writer,
            events=self._events,
            claims=self._claims,
        )

    async def run(self) -> None:
        """Reconcile pods until :meth:`stop`, or cancelled."""
        async with self._objects, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._watch.run(), name="watch pods"),
                group.create_task(self._services.run(self._dependencies), name="watch services"),
                group.create_task(self._events.run(), name="write events"),
                group.create_task(self._list_provider_pods(), name="list the provider's pods"),
            ]
            await self._ready.wait()
            tasks.append(group.create_task(self._statuses.run(), name="follow statuses"))
            await self._queue.run(self.reconcile, workers=self._settings.workers)
            for task in tasks:
                task.cancel()

    def stop(self) -> None:
        """Accept no more work; :meth:`run` returns when the reconciles in progress are finished."""
        self._queue.stop()
        self._ready.set()

    def add_node(self, node: str) -> None:
        """Watch the pods of a node that was added."""
        self._watch.add_node(node)

    def resume(self, node: str) -> None:
        """Reconcile the pods that were held because their node was not active."""
        for key in self._held.pop(node, ()):
            self._queue.add(key)

    def apply_faults(self, node: str) -> None:
        """Reconcile the pods of a node whose faults have changed: the provider is to simulate others."""
        for stored in self._store.stored_on(node):
            self._states.get(stored.key).acknowledge("")
            self._queue.add(stored.key)
        self.resume(node)

    def retry_failed(self, node: str) -> None:
        """Reconcile the pods of a node whose last reconcile has failed: an outage is over."""
        self._queue.retry_failed(stored.key for stored in self._store.stored_on(node))

    def retry_waiting(self, node: str) -> None:
        """Reconcile the pods of a node that wait for room: its allocatable resources have changed."""
        self._allocators.retry_waiting(node)

    def remove_node(self, node: str) -> None:
        """Forget a node without pods."""
        self._held.pop(node, None)
        self._allocators.remove(node)

    async def evict(self, node: str, usage: UsageReader) -> None:
        """Evict pods of a node under pressure, until cancelled.

        Args:
            node: name of the node.
            usage: reads the usage of the node.
        """
        manager = EvictionManager(
            self._dependencies,
            self._nodes[node],
            store=self._store,
            allocator=self._allocators.of(node),
            events=self._events,
            usage=usage,
        )
        await manager.run()

    async def reconcile(self, key: str) -> float | None:
        """Reconcile one pod.

        Returns:
            Seconds until the next reconcile; None: not before the next event.

        Raises:
            BrokerError: retry.
        """
        state, snapshot = self._states.get(key), self._store.snapshot(key)
        if self._hold(key, snapshot, state):
            return None
        desired = PodVersion(snapshot.stored.uid) if snapshot else None
        if decide(desired, state.pod) is Action.DELETE:
            seconds = await self._termination.advance(state.delete_body(key), state, grace=0)
            if state.pod is not None:
                return seconds or _STUBBORN_DELAY
            snapshot = self._store.snapshot(key, snapshot)
        self._claims.release_others(key, {snapshot.stored.uid} if snapshot else ())
        self._prerequisites.keep(key, _uid_to_run(snapshot, state))
        if mirror := self._store.mirror(key):
            await delete_now(self._dependencies.client, pod_path(mirror), mirror)
        if snapshot is None:
            self._states.discard(key)
            return None
        if snapshot.stored.is_terminating:
            delay = await self._deletion.advance(snapshot, state)
            if state.pod is None:  # finalizers may keep the Pod object for long
                self._claims.release(snapshot.stored.uid)
            return delay
        if snapshot.stored.of_daemon_set and not self._settings.daemon_sets:
            return None
        problem, delay = None, None
        try:
            delay = await self._ensure_running_or_ended(snapshot, state)
        except BrokerError as exc:
            problem = exc
        # The status is written even where the pod could not be created or updated.
        if (latest := self._store.snapshot(key, snapshot)) and (status := _status(latest, state, problem)):
            await self._write(latest, state, status)
        again = self._seconds_to_next(key)
        if problem:
            if again is not None and again > 0:
                problem.at_most = min(again, problem.at_most or again)
            raise problem
        return again if delay is None else delay

    async def _write(self, snapshot: PodSnapshot, state: ProviderState, status: Object) -> None:
        """Write a status; record an event where the provider has resized the pod, or ended it at its deadline."""
        stored = snapshot.stored
        pending = self._allocators.of(stored.node).pending_resize(stored.uid)
        await self._writer.write(snapshot, state, status, pending_resize=pending)
        if status.get("reason") == DEADLINE_EXCEEDED.reason and not stored.has_ended:
            self._events.record(snapshot.pod, "Warning", *DEADLINE_EXCEEDED)
        if (
            status.get("phase") == "Running"
            and not is_resizing(status)
            and is_resizing(snapshot.pod.get("status"))
        ):
            message = f"Pod resize completed: {summary(snapshot.pod)}"
            self._events.record(snapshot.pod, "Normal", "ResizeCompleted", message)

    def _hold(self, key: str, snapshot: PodSnapshot | None, state: ProviderState) -> bool:
        """Return whether a pod is held; where Kubernetes has none, the node is that of the last one."""
        name = snapshot.stored.node if snapshot else node_name(state.delete_body(key))
        node = self._nodes.get(name)
        if node is None or node.is_active:
            return False
        self._held.setdefault(name, set()).add(key)
        return True

    async def _ensure_running_or_ended(self, snapshot: PodSnapshot, state: ProviderState) -> float | None:
        """Run a pod at the provider, or end it there where it may no longer run.

        Returns:
            Seconds until the next reconcile of a pod that ends; None for any other.
        """
        stored = snapshot.stored
        if stored.has_ended:
            return await self._ensure_ended(snapshot, state)
        if state.has_ended(stored.uid) and not state.is_terminating(stored.uid):
            return None
        if await self._deadline.ends(snapshot, state):
            return await self._failure.advance(snapshot, state, DEADLINE_EXCEEDED)
        if disruption := self._allocators.of(stored.node).disruption(stored.uid):
            return await self._failure.advance(snapshot, state, disruption.why, disruption)
        await self._ensure_running(snapshot, state)
        return None

    async def _ensure_ended(self, snapshot: PodSnapshot, state: ProviderState) -> float | None:
        """Terminate a pod that another client has ended; return the seconds until the next reconcile.

        A pod that has ended by itself stays at the provider, with its logs, until it is deleted.
        """
        stored, delay = snapshot.stored, None
        if state.pod is not None and state.status(stored.uid) is None:
            await self._statuses.poll(stored.key, stored.uid)
        if state.pod is not None and (state.is_terminating(stored.uid) or not state.has_ended(stored.uid)):
            delay = await self._termination.advance(snapshot.pod, state, grace=grace_period(snapshot.pod))
        if state.pod is None or state.has_ended(stored.uid):
            self._claims.release(stored.uid)
            return None
        return delay or _STUBBORN_DELAY

    async def _ensure_running(self, snapshot: PodSnapshot, state: ProviderState) -> None:
        """Run a pod at the provider, or fail the pod where it is not admitted."""
        stored, allocator = snapshot.stored, self._allocators.of(snapshot.stored.node)
        if rejection := await allocator.admit(snapshot, state):
            await self._failure.write(snapshot, state, rejection, prefix="Pod was rejected: ")
            return
        try:
            written = await self._sync.sync(allocator.allocate(snapshot, state), state)
        except PodRefused as exc:
            if stored.phase != "Pending":
                raise
            await self._failure.write(snapshot, state, Rejection("ProviderFailed", str(exc)))
            return
        # With many pods in the queue, one long poll brings many statuses; a single pod is polled at once.
        if written and not (self._statuses.supports_push and len(self._queue)):
            await self._statuses.poll(stored.key, stored.uid)
        if waiting := state.waiting(stored.uid):
            raise waits_for(waiting)

    def _seconds_to_next(self, key: str) -> float | None:
        """Return the seconds until a pod's deadline, its next resize or the renewal of a token.

        None: there is neither.
        """
        snapshot = self._store.snapshot(key)
        if snapshot is None or snapshot.stored.has_ended:
            return None
        stored, delays = snapshot.stored, []
        if (seconds := self._deadline.seconds_to_next(snapshot)) is not None:
            delays.append(seconds)
        if self._allocators.of(stored.node).pending_resize(stored.uid):
            delays.append(RESIZE_RETRY)
        if renewal := self._prerequisites.volumes.seconds_to_renewal(key):
            delays.append(renewal)
        return min(delays, default=None)

    def _object_changed(self, key: str) -> None:
        self._prerequisites.volumes.mark_due(key)
        self._queue.add(key)

    def _handle(self, event: Event) -> None:
        """Record an event of the watch."""
        type_, obj = event
        if obj is None:
            self._listed.set()
        elif type_ == "DELETED":
            self._remove(obj.key)
        else:
            self._put(obj)

    def _put(self, obj: RawObject) -> None:
        if not (snapshot := self._store.put(obj)):
            if self._store.mirror(obj.key):
                self._queue.add(obj.key)
            return
        stored = snapshot.stored
        ended = self._states.get(obj.key).has_ended(stored.uid)  # known here before the watch reports it
        if stored.phase == "Running" and not ended and stored.uid not in self._claims:
            # After a restart, running pods are counted before any new pod is admitted.
            self._allocators.of(stored.node).count(snapshot)
        if stored.is_terminating or stored.has_ended:
            self._claims.mark_leaving(stored.uid)
        self._queue.add(obj.key)

    def _remove(self, key: str) -> None:
        if deleted := self._store.remove(key):
            self._claims.mark_leaving(deleted.uid)
            self._states.get(key).record_deleted(deleted.raw)
            self._queue.add(key)

    async def _list_provider_pods(self) -> None:
        """List the provider's pods after each complete list of Kubernetes' pods, to find pods to delete."""
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            await self._listed.wait()
            self._listed.clear()
            try:
                found = self._states.record_list(await self._dependencies.provider.pods())
            except ProviderError as exc:
                delay = backoff.after(exc)
                log.warning("pods could not be listed at the provider", error=str(exc), retry_in=delay)
                self._ready.set()
                self._listed.set()
                await asyncio.sleep(delay)
                continue
            backoff.reset()
            for key in found:
                if snapshot := self._store.snapshot(key):
                    self._allocators.of(snapshot.stored.node).recount(snapshot, self._states.get(key))
                self._queue.add(key)
            self._ready.set()


def _uid_to_run(snapshot: PodSnapshot | None, state: ProviderState) -> str | None:
    """Return the UID of a pod that is to run; None for one that has ended or is about to."""
    if snapshot is None or snapshot.stored.is_terminating or snapshot.stored.has_ended:
        return None
    return None if state.has_ended(snapshot.stored.uid) else snapshot.stored.uid


def _status(snapshot: PodSnapshot, state: ProviderState, problem: BrokerError | None) -> Object | None:
    """Return the status to write: as the provider reports it, or that of a pod that waits; None without either.

    After a restart, a pod that waits may be at the provider, which has not reported its status yet.
    """
    stored = snapshot.stored
    waiting = state.waiting(stored.uid)
    if reported := state.status(stored.uid):
        return with_messages(msgspec.json.decode(reported), waiting)
    if isinstance(problem, PodWaits) and stored.phase == "Pending" and not state.has(stored.uid):
        return waiting_status(snapshot.pod, waiting)
    return None
