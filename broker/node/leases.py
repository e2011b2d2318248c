"""Reads the leases of nodes; those of a fleet together, instead of a request for each node."""

import asyncio

from broker.kubernetes.client import Client
from broker.kubernetes.errors import NotFound
from broker.kubernetes.objects import RawObject
from broker.single_flight import SingleFlight
from broker.types import Object

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_MAX_AGE = 1.0
"""Seconds for which a list of leases is used."""


class Leases:
    """The leases of nodes.

    Args:
        client: client of the API server with connections of its own: a renewal waits for no other request.
        are_many: whether there may be many nodes; their leases are then listed.
    """

    def __init__(self, client: Client, *, are_many: bool = False) -> None:
        self.client = client
        self._are_many = are_many
        self._listing = SingleFlight(self._list)
        self._listed: dict[str, RawObject] = {}
        self._listed_at: float | None = None

    async def read(self, node: str) -> Object | None:
        """Return the lease of a node; None where there is none.

        Raises:
            ApiError: it was not read.
        """
        if not self._are_many:
            try:
                return await self.client.get(f"{LEASES}/{node}")
            except NotFound:
                return None
        now = asyncio.get_running_loop().time()
        if self._listed_at is None or now - self._listed_at > _MAX_AGE:
            await self._listing.result()
        found = self._listed.get(node)
        return found.decode() if found else None

    async def _list(self) -> None:
        items, _ = await self.client.list(LEASES)
        self._listed = {item.metadata.name: item for item in items}
        self._listed_at = asyncio.get_running_loop().time()
