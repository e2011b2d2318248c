"""The lease of the node: while it is renewed, Kubernetes takes the node to be alive.

https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import Random

import structlog

from broker.backoff import Backoff
from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Conflict, NotFound
from broker.kubernetes.objects import Object, to_micro_time
from broker.node_info import NodeFacts

DURATION = 40
"""Seconds for which the lease holds; the kubelet's default, as are the others."""
PERIOD = 10.0
_JITTER = 1.04
_RETRY, _RETRY_LIMIT = 0.2, 7.0

log = structlog.get_logger()


class Lease:
    """The lease `kube-node-lease/<node>`; the node's name and UID are those of the facts at each renewal."""

    def __init__(self, client: Client, facts: NodeFacts, *, clock: Callable[[], datetime], random: Random) -> None:
        self._client = client
        self._facts = facts
        self._clock = clock
        self._random = random
        self._collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        self._path = f"{self._collection}/{facts.name}"
        self._last: Object | None = None
        self._attempts: list[str] = []
        """The times that the lease may bear if nobody else writes it."""

    async def run(self) -> None:
        """Renew the lease, for ever."""
        backoff = Backoff(_RETRY, _RETRY_LIMIT)
        while True:
            try:
                await self.renew()
                backoff.reset()
                delay = PERIOD * self._random.uniform(1, _JITTER)
            except ApiError as exc:
                delay = backoff.after(exc)
                log.warning("the lease of the node cannot be renewed", error=str(exc), retry_in=delay)
            await asyncio.sleep(delay)

    async def renew(self) -> None:
        """Renew the lease; create it where there is none.

        Raises:
            ApiError: it was not renewed.
        """
        if self._last is not None:
            try:
                await self._replace(self._last)
            except (Conflict, NotFound):
                self._last = None  # deleted, with the node perhaps; or written by an attempt whose answer was lost
            else:
                return
        try:
            found = await self._client.get(self._path)
        except NotFound:
            self._last = await self._client.create(self._collection, self._renewed({}))
            return
        if self._attempts and found.get("spec", {}).get("renewTime") not in self._attempts:
            log.warning("somebody else renews the lease of the node: is there a second one of its name?")
        await self._replace(found)

    async def _replace(self, lease: Object) -> None:
        renewed = self._renewed(lease)
        self._attempts.append(renewed["spec"]["renewTime"])
        self._last = await self._client.replace(self._path, renewed)
        self._attempts = self._attempts[-1:]

    def _renewed(self, lease: Object) -> Object:
        """Renew a lease; it belongs to the Node, so that it goes when that is gone for good."""
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._facts.name, "uid": self._facts.uid}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **lease.get("metadata", {}),
                "name": self._facts.name,
                "namespace": "kube-node-lease",
                "ownerReferences": [owner],
            },
            "spec": {
                **lease.get("spec", {}),
                "holderIdentity": self._facts.name,
                "leaseDurationSeconds": DURATION,
                "renewTime": to_micro_time(self._clock()),
            },
        }
