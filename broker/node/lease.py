"""The node's Lease. Kubernetes marks the node unhealthy when the lease is not renewed.

https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.kubernetes.errors import ApiError, Conflict, NotFound
from broker.kubernetes.objects import from_time, to_micro_time
from broker.types import Object

DURATION = 40
"""`leaseDurationSeconds`: the kubelet's default, as the other constants here."""
PERIOD = 10.0
"""Seconds between two renewals."""
LATE = 2 * PERIOD
"""Seconds between two renewals after which the node controller may have set conditions to Unknown."""
_JITTER = 1.04
_RETRY, _RETRY_LIMIT = 0.2, 7.0

log = structlog.get_logger()


class Lease:
    """The lease `kube-node-lease/<node>`.

    Each renewal reads the UID of the Node again: the Node object may have been created again.

    Args:
        dependencies: of the node.
        on_recovery: is called when the lease was renewed after an interruption; an ApiError of it is retried.
    """

    def __init__(self, dependencies: Dependencies, *, on_recovery: Callable[[], Awaitable[None]]) -> None:
        self._client = dependencies.client
        self._node = dependencies.node
        self._clock = dependencies.clock
        self._random = dependencies.random
        self._on_recovery = on_recovery
        self._renewed_at: datetime | None = None
        self._interrupted = False
        self._collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        self._path = f"{self._collection}/{self._node.name}"
        self._last: Object | None = None
        self._attempts: list[str] = []
        """Every `renewTime` that this broker may have written last; any other is from a second broker."""

    async def run(self) -> None:
        """Renew the lease periodically, until cancelled."""
        backoff = Backoff(_RETRY, _RETRY_LIMIT)
        while True:
            try:
                async with asyncio.timeout(PERIOD):  # a lost connection is noticed before the lease expires
                    await self.renew()
                    await self._recover()
                backoff.reset()
                delay = PERIOD * self._random.uniform(1, _JITTER)
            except (ApiError, TimeoutError) as exc:
                delay = backoff.after(exc)
                error = str(exc) or "the API server does not answer in time"
                log.warning("node lease not renewed", error=error, retry_in=delay)
            await asyncio.sleep(delay)

    async def renew(self) -> None:
        """Renew the lease; create it where it does not exist.

        Raises:
            ApiError: the lease was not renewed.
        """
        if self._last is not None:
            try:
                await self._replace(self._last)
            except (Conflict, NotFound):
                # Deleted, perhaps with the Node; or written by an earlier attempt whose answer was lost.
                self._last = None
            else:
                return
        try:
            found = await self._client.get(self._path)
        except NotFound:
            self._last = await self._client.create(self._collection, self._renewed({}))
            return
        if self._attempts and found.get("spec", {}).get("renewTime") not in self._attempts:
            log.warning("node lease renewed by another process: does a second broker use this node name?")
        await self._replace(found)

    async def _recover(self) -> None:
        """Call `on_recovery` if this renewal is late: in the meantime, conditions may have become Unknown."""
        now, before = self._clock(), self._renewed_at
        self._renewed_at = now
        if before is not None and (now - before).total_seconds() > LATE:
            self._interrupted = True
        if self._interrupted:
            await self._on_recovery()
            self._interrupted = False

    async def _replace(self, lease: Object) -> None:
        renewed = self._renewed(lease)
        self._attempts.append(renewed["spec"]["renewTime"])
        self._last = await self._client.replace(self._path, renewed)
        self._attempts = self._attempts[-1:]

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
                "holderIdentity": self._node.name,
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
