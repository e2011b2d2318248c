"""The controller of pods: brings the provider to have what Kubernetes wants, and Kubernetes to know how it is.

It is level-triggered: an event only says which pod to look at, and a look compares what is wanted with what is
there, whatever happened in between.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import Random

import msgspec
import structlog

from broker.backoff import Backoff
from broker.errors import BrokerError
from broker.kubernetes.client import Client
from broker.kubernetes.objects import Object, RawObject
from broker.kubernetes.watch import list_and_watch
from broker.node_info import NodeFacts
from broker.pods.actions import Held, Pod, seconds_left
from broker.pods.admission import Ledger, Rejection, admit, requests
from broker.pods.deletion import Deletion
from broker.pods.env_sources import Services
from broker.pods.events import Events
from broker.pods.provider_state import Record, Records
from broker.pods.provider_sync import NeverTaken, Provision
from broker.pods.status_merge import ended_status
from broker.pods.status_source import Statuses
from broker.pods.status_writer import StatusWriter
from broker.pods.store import PodStore, StoredPod
from broker.pods.workqueue import Later, Queue
from broker.provider import Provider, ProviderError
from broker.settings import Settings

_SHORTEST_DELAY, _LONGEST_DELAY = 0.2, 30.0
_DEADLINE_EXCEEDED = Rejection("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")

log = structlog.get_logger()


class PodController:
    """The pods of one node.

    Args:
        client: Kubernetes.
        provider: the provider.
        facts: the node; pods wait until it is registered.
        settings: how many workers there are, how often to ask for statuses, whether pods of DaemonSets run here.
        store: gets the pods.
        clock: gives the time.
        random: for jitter.
        on_sync: is called with the time whenever the pods are known to be complete.
    """

    def __init__(
        self,
        client: Client,
        provider: Provider,
        facts: NodeFacts,
        settings: Settings,
        *,
        store: PodStore,
        clock: Callable[[], datetime],
        random: Random,
        on_sync: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._provider = provider
        self._facts = facts
        self._store = store
        self._settings = settings
        self._clock = clock
        self._random = random
        self._on_sync = on_sync
        self._queue = Queue()
        self._records = Records(store)
        self._ledger = Ledger()
        self._listed = asyncio.Event()
        self._ready = asyncio.Event()
        self._services = Services()
        self._events = Events(client, node_name=facts.name, clock=clock)
        self._writer = StatusWriter(client, store, facts, clock=clock)
        self._provision = Provision(provider, client, facts, services=self._services, events=self._events)
        self._deletion = Deletion(provider, client, self._provision, self._writer, clock=clock)
        self._statuses = Statuses(provider, self._records, self._queue, interval=settings.status_interval)

    async def run(self) -> None:
        """Work until :meth:`stop`, or cancelled."""
        async with asyncio.TaskGroup() as group:
            services = self._services.run(self._client, clock=self._clock, random=self._random)
            tasks = [
                group.create_task(self._watch(), name="watch pods"),
                group.create_task(services, name="watch services"),
                group.create_task(self._events.run(), name="write events"),
                group.create_task(self._compare(), name="compare with the provider"),
            ]
            await self._ready.wait()
            tasks.append(group.create_task(self._statuses.run(), name="follow statuses"))
            await self._queue.run(self.look, workers=self._settings.workers)
            for task in tasks:
                task.cancel()

    def stop(self) -> None:
        """Take up nothing new; :meth:`run` returns when what is under way is done."""
        self._queue.stop()
        self._ready.set()

    async def look(self, key: str) -> float | None:
        """Look at a pod and do what is to be done.

        Returns:
            In how many seconds to look again where nothing happens before; None: not until then.

        Raises:
            BrokerError: try again.
        """
        record, stored = self._records.of(key), self._store.get(key)
        if _is_to_go(record.held, stored):
            await self._provision.delete(record.body(key))
            record.let_go()
        if stored is None:
            self._records.forget(key)
            return None
        if stored.is_terminating:
            return await self._deletion.advance(stored, record)
        if stored.of_daemon_set and not self._settings.daemon_sets:
            return None
        problem: BrokerError | None = None
        try:
            await self._tend(stored, record)
        except BrokerError as exc:
            problem = exc
        # How a pod is gets told even where it is not yet as it should be.
        if (stored := self._store.get(key)) and (reported := record.reported(stored.uid)):
            await self._writer.write(stored, record, msgspec.json.decode(reported))
        if problem:
            raise problem
        return self._seconds_left(key)

    async def _tend(self, stored: StoredPod, record: Record) -> None:
        """Have a pod run that is to run, if it may."""
        if stored.has_ended:
            self._ledger.release(stored.uid)
            return
        pod = stored.decode()
        if (left := seconds_left(pod, self._clock())) is not None and left <= 0:
            if record.held is not None:
                await self._provision.delete(pod)
                record.let_go()
            await self._fail(stored, record, _DEADLINE_EXCEEDED)
            return
        if rejection := self._admit(stored, record, pod):
            message = f"Pod was rejected: {rejection.message}"
            await self._fail(stored, record, rejection._replace(message=message))
            return
        try:
            told = await self._provision.ensure(stored, record)
        except NeverTaken as exc:
            if stored.phase != "Pending":
                raise
            await self._fail(stored, record, Rejection("ProviderFailed", str(exc)))
            return
        # Of many pods the provider tells in few answers; one that comes alone need not wait for the next of them.
        if told and not (self._statuses.hears and len(self._queue)):
            await self._statuses.ask(stored.key, stored.uid)

    def _seconds_left(self, key: str) -> float | None:
        """Say when a pod's time is over; None where it has no deadline, or has ended."""
        stored = self._store.get(key)
        if stored is None or stored.has_ended or not stored.has_deadline:
            return None
        return seconds_left(stored.decode(), self._clock())

    def _admit(self, stored: StoredPod, record: Record, pod: Object) -> Rejection | None:
        """Decide whether a pod may run here, and count it; one that has been taken on before may."""
        if stored.uid in self._ledger:
            return None
        if stored.phase == "Pending" and not isinstance(record.held, Pod):
            if not self._facts.uid or not self._facts.allocatable:
                raise Later("the node is not registered yet", at_most=1)
            if rejection := admit(pod, self._facts, self._ledger.used):
                return rejection
        self._ledger.admit(stored.uid, requests(pod))
        return None

    async def _fail(self, stored: StoredPod, record: Record, why: Rejection) -> None:
        pod = stored.decode()
        status = ended_status(pod, now=self._clock(), reason=why.reason, message=why.message)
        await self._writer.write(stored, record, status)
        self._events.record(pod, "Warning", why.reason, why.message)

    async def _watch(self) -> None:
        """Follow the pods that Kubernetes has on this node."""
        events = list_and_watch(
            self._client,
            "/api/v1/pods",
            field_selector=f"spec.nodeName={self._facts.name}",
            clock=self._clock,
            random=self._random,
            on_sync=self._on_sync,
        )
        async for type_, obj in events:
            if obj is None:
                self._listed.set()
            elif type_ == "DELETED":
                self._remove(obj.key)
            else:
                self._put(obj)

    def _put(self, obj: RawObject) -> None:
        if not self._store.put(obj):
            return
        stored = self._store.get(obj.key)
        if stored and stored.phase == "Running" and stored.uid not in self._ledger:
            # After a start, what runs is counted before anything new is admitted.
            self._ledger.admit(stored.uid, requests(stored.decode()))
        self._queue.add(obj.key)

    def _remove(self, key: str) -> None:
        if gone := self._store.remove(key):
            self._ledger.release(gone.uid)
            self._records.of(key).copy = gone.raw
            self._queue.add(key)

    async def _compare(self) -> None:
        """Find out what the provider has, each time that it is known what Kubernetes has."""
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            await self._listed.wait()
            self._listed.clear()
            try:
                news = self._records.compare(await self._provider.pods())
            except ProviderError as exc:
                delay = backoff.after(exc)
                log.warning("the provider does not tell its pods", error=str(exc), retry_in=delay)
                self._ready.set()
                self._listed.set()
                await asyncio.sleep(delay)
                continue
            backoff.reset()
            for key in news:
                self._queue.add(key)
            self._ready.set()


def _is_to_go(held: Held, stored: StoredPod | None) -> bool:
    """Tell whether what the provider has, or may have, under a name is not what Kubernetes has there."""
    if isinstance(held, Pod) and stored is not None:
        return held.uid != stored.uid
    return held is not None and stored is None
