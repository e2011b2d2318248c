"""Connections, limits and the list that the leases of all nodes share.

With many nodes, renewals wait for each other. The wait does not count against the time in which the API server has
to answer: while it is slow, leases are renewed later, and none is given up to be tried again.
"""

import asyncio
import math

import msgspec
import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import NotFound
from broker.kubernetes.objects import RawObject
from broker.single_flight import SingleFlight
from broker.types import Object

log = structlog.get_logger()

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
CONNECTIONS = 32
"""Renewals at once: for 1,000 nodes, each may take 300 ms."""
_ACQUIRING = 8
"""Fewer than nodes whose status is written at once: a node is ready by its status, and its lease may follow."""
_GATHERING = 1.0
"""Seconds in which nodes that wait for another broker are gathered for one message."""
_LOG_INTERVAL = 10.0
"""Least time in seconds between two messages about leases; an outage concerns all of them."""
_MAX_AGE, _MAX_AGE_OF_ABSENCE = 1.0, 5.0
"""Seconds for which a list of leases is used: for a lease in it, and for one that is not. The latter is created,
which fails where another process was faster."""


class Leases:
    """The leases of nodes.

    Args:
        client: client of the API server with connections of its own: a renewal waits for no other request.
        are_many: whether there may be many nodes; their leases are then listed.

    Attributes:
        renewing: limits the number of renewals at once.
        acquiring: limits the number of leases that are taken at once.
    """

    def __init__(self, client: Client, *, are_many: bool = False) -> None:
        self.client = client
        self.renewing = asyncio.Semaphore(CONNECTIONS)
        self.acquiring = asyncio.Semaphore(_ACQUIRING)
        self._failed: set[str] = set()
        self._waiting: dict[str, str] = {}
        self._logged_at = -_LOG_INTERVAL
        self._are_many = are_many
        self._listing = SingleFlight(self._list)
        self._listed: dict[str, RawObject] = {}
        self._listed_at = -math.inf
        self._expiry: asyncio.TimerHandle | None = None

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
        max_age = _MAX_AGE if node in self._listed else _MAX_AGE_OF_ABSENCE
        if asyncio.get_running_loop().time() - self._listed_at > max_age:
            await self._listing.result()
        found = self._listed.get(node)
        return found.decode() if found else None

    def observe(self, node: str, lease: Object) -> None:
        """Take over a lease that is newer than the list."""
        self._listed[node] = RawObject.parse(msgspec.json.encode(lease))

    def log_failure(self, what: str, node: str, error: str, *, retry_in: float) -> None:
        """Log that a lease was not read, acquired or renewed; with many nodes, only now and then."""
        now = asyncio.get_running_loop().time()
        self._failed.add(node)
        if not self._are_many or now - self._logged_at >= _LOG_INTERVAL:
            failed = {"nodes": len(self._failed)} if self._are_many else {}
            log.warning(f"node lease not {what}", node=node, error=error, retry_in=retry_in, **failed)
            self._failed.clear()
            self._logged_at = now

    def log_wait(self, node: str, holder: str, *, longest: float) -> None:
        """Log that a node waits for another broker; with many nodes, once for those that begin to wait together.

        Args:
            node: name of the node.
            holder: identity of the other broker.
            longest: seconds after the last renewal for which a node waits.
        """
        if not self._waiting:
            delay = _GATHERING if self._are_many else 0
            asyncio.get_running_loop().call_later(delay, self._log_waiting, longest)
        self._waiting[node] = holder

    def _log_waiting(self, longest: float) -> None:
        (node, holder), number = next(iter(self._waiting.items())), len(self._waiting)
        self._waiting.clear()
        what = f"{number} nodes" if number > 1 else "this node"
        log.warning(
            f"another broker runs {what}; waiting until it stops or has not renewed its lease for {longest} s",
            node=node,
            holder=holder,
        )

    async def _list(self) -> None:
        items, _ = await self.client.list(LEASES)
        loop = asyncio.get_running_loop()
        self._listed, self._listed_at = {item.metadata.name: item for item in items}, loop.time()
        if self._expiry:
            self._expiry.cancel()
        self._expiry = loop.call_later(_MAX_AGE_OF_ABSENCE, self._forget)

    def _forget(self) -> None:
        """Free the list: it is read when nodes are started, and a cluster may have thousands of leases."""
        self._listed, self._listed_at = {}, -math.inf
