"""The node's Lease. Kubernetes marks the node unhealthy when the lease is not renewed.

The lease also keeps a second broker with the name of this node out. Its `holderIdentity` names a process, not a
node. A broker waits, and writes nothing, while another one holds the lease. It takes over when the other one has
released the lease, which it does when it stops, or has not renewed it for 40 seconds. These seconds are measured
here, as by client-go's leader election: the clocks of two machines may differ. A broker that finds the lease in
other hands, for example after it was paused, stops.

https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.errors import BrokerError
from broker.kubernetes.errors import AlreadyExists, ApiError, Conflict, NotFound
from broker.kubernetes.objects import drop_managed_fields, from_time, to_micro_time
from broker.node.leases import LEASES, Leases
from broker.node_info import NodeInfo
from broker.types import Object

DURATION = 40
"""`leaseDurationSeconds`: the kubelet's default, as the other constants here."""
PERIOD = 10.0
"""Seconds between two renewals."""
LATE = 2 * PERIOD
"""Seconds between two renewals after which the node controller may have set conditions to Unknown."""
_JITTER = 1.04
_RETRY, _RETRY_LIMIT = 0.2, 7.0
WAIT_PERIOD = 2.0
"""Seconds between two reads of a lease that another process holds."""


class LeaseLost(BrokerError):
    """Another process holds the lease of this node."""


class Lease:
    """The lease `kube-node-lease/<node>`.

    Each renewal reads the UID of the Node again: the Node object may have been created again.

    Args:
        dependencies: of the broker.
        node: the node.
        leases: reads the leases.
        on_recovery: is called when the lease was renewed after an interruption.

    Attributes:
        identity: `holderIdentity` of this process.
        other: identity of the process that holds it, and that this one waits for; None where there is none.
        creating: is held while the lease is created. The API server may carry out a request that is cancelled.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        node: NodeInfo,
        *,
        leases: Leases,
        on_recovery: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._client = leases.client
        self._node = node
        self._clock = dependencies.clock
        self._random = dependencies.random
        self._on_recovery = on_recovery
        self._renewed_at: datetime | None = None
        self._path = f"{LEASES}/{node.name}"
        self._last: bytes | None = None  # as JSON, a fifth of the memory of the decoded lease
        self._is_absent = False
        self.identity = f"{self._node.name}_{dependencies.settings.lease_identity or uuid4()}"
        self.other: str | None = None
        self.creating = asyncio.Lock()

    async def wait_until_free(self) -> None:
        """Return when no other process holds the lease, or has not renewed it for 40 seconds."""
        backoff, time = Backoff(_RETRY, _RETRY_LIMIT), asyncio.get_running_loop().time
        seen, since = "", time()
        while True:
            try:
                lease = await self._leases.read(self._node.name)
                backoff.reset()
                delay = WAIT_PERIOD
            except ApiError as exc:
                delay = backoff.after(exc)
                self._leases.log_failure("read", self._node.name, str(exc), retry_in=delay)
            else:
                self._is_absent = lease is None
                if lease is None or (other := self._other_holder(lease)) is None:
                    self._keep(lease)
                    break
                if other != self.other:
                    self._leases.log_wait(self._node.name, other, longest=DURATION)
                    self.other = other
                if (renewed := lease["metadata"]["resourceVersion"]) != seen:
                    seen, since = renewed, time()
                elif time() - since > DURATION:
                    self._keep(lease)  # a precondition: of several that wait, one takes over
                    break
            await asyncio.sleep(delay)
        self.other = None

    async def acquire(self) -> None:
        """Take the lease; retry until that succeeds.

        Raises:
            LeaseLost: another process has taken it.
        """
        backoff = Backoff(_RETRY, _RETRY_LIMIT)
        while True:
            try:
                async with self._leases.acquiring:
                    await self.renew()
            except ApiError as exc:
                delay = backoff.after(exc)
                self._leases.log_failure("acquired", self._node.name, str(exc), retry_in=delay)
                await asyncio.sleep(delay)
            else:
                self._renewed_at = self._clock()
                return

    async def release(self) -> None:
        """Remove the holder, so that another process takes the lease at once; `renewTime` stays.

        Raises:
            ApiError: the lease was not released.
        """
        last, self._last = self._last, None
        if last is not None:
            with suppress(Conflict):  # a renewal that was cancelled has been carried out
                await self._free(msgspec.json.decode(last))
                return
        found = await self._find()
        if found and not self._other_holder(found):
            await self._free(found)

    async def run(self) -> None:
        """Renew the acquired lease periodically, until cancelled.

        Raises:
            LeaseLost: another process has taken it.
        """
        backoff = Backoff(_RETRY, _RETRY_LIMIT)
        delay = PERIOD * self._random.uniform(0.5, 1)  # many that were acquired together are spread
        while True:
            await asyncio.sleep(delay)
            try:
                if not self._node.is_cut_off:
                    # A lost connection is noticed before the lease expires.
                    async with self._leases.renewing, asyncio.timeout(PERIOD):
                        await self.renew()
                    self._recover()
                backoff.reset()
                delay = PERIOD * self._random.uniform(1, _JITTER)
            except (ApiError, TimeoutError) as exc:
                delay = backoff.after(exc)
                error = str(exc) or "the API server does not answer in time"
                self._leases.log_failure("renewed", self._node.name, error, retry_in=delay)

    async def renew(self) -> None:
        """Renew the lease; create it where it does not exist.

        Raises:
            ApiError: the lease was not renewed.
            LeaseLost: another process holds it.
        """
        if self._last is not None:
            try:
                await self._replace(msgspec.json.decode(self._last))
            except (Conflict, NotFound):
                # Deleted, perhaps with the Node; or written by an earlier attempt whose answer was lost.
                self._last = None
            else:
                return
        if (found := await self._find()) is None:
            try:
                async with self.creating:
                    self._keep(await self._client.create(LEASES, self._renewed({})))
            except AlreadyExists:
                found = await self._client.get(self._path)
            else:
                return
        self.other = self._other_holder(found)
        if self.other:
            self._leases.observe(self._node.name, found)
            raise LeaseLost(f"another broker has taken over node {self._node.name}: {self.other}")
        await self._replace(found)

    async def _find(self) -> Object | None:
        """Return the lease; None where there is none, as just read by :meth:`wait_until_free`."""
        if self._is_absent:
            self._is_absent = False
            return None
        try:
            return await self._client.get(self._path)
        except NotFound:
            return None

    def _recover(self) -> None:
        """Call `on_recovery` if this renewal is late: in the meantime, conditions may have become Unknown."""
        now, before = self._clock(), self._renewed_at
        self._renewed_at = now
        if before is not None and (now - before).total_seconds() > LATE:
            self._on_recovery()

    async def _free(self, lease: Object) -> None:
        lease["spec"].pop("holderIdentity", None)
        await self._client.replace(self._path, lease)

    async def _replace(self, lease: Object) -> None:
        """Write a lease. Without its managed fields, which stay, it takes the API server less time."""
        renewed = self._renewed(drop_managed_fields(lease))
        self._keep(await self._client.replace(self._path, renewed))

    def _keep(self, lease: Object | None) -> None:
        """Keep a lease as last read or written, for its `resourceVersion` and fields of other clients."""
        self._last = None if lease is None else msgspec.json.encode(drop_managed_fields(lease))

    def _other_holder(self, lease: Object) -> str | None:
        """Return the identity of the holder, None if it is this process or there is none."""
        holder: str | None = lease.get("spec", {}).get("holderIdentity")
        return holder if holder and holder != self.identity else None

    def _renewed(self, lease: Object) -> Object:
        """Return a lease with the current time, owned by the Node so that both are deleted together."""
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node.name, "uid": self._node.uid}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **lease.get("metadata", {}),
                "name": self._node.name,
                "namespace": "kube-node-lease",
                "ownerReferences": [owner],
            },
            "spec": {
                **lease.get("spec", {}),
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION,
                "renewTime": self._renew_time(lease),
            },
        }

    def _renew_time(self, lease: Object) -> str:
        """Return the current time, or one after the lease's where the clock was set back.

        The node controller ignores a renewal whose time is not later.
        """
        before = lease.get("spec", {}).get("renewTime")
        now = self._clock()
        return to_micro_time(max(now, from_time(before) + timedelta(microseconds=1)) if before else now)
