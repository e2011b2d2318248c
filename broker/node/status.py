"""Status of the node: polled from the provider every ten seconds, written to Kubernetes on a change.

A change is a difference from the Node in Kubernetes, made here or by another client. During an interruption of the
lease, the node controller sets conditions to Unknown, and only the node sets them back.

Ten seconds and five minutes are the kubelet's: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

import asyncio
import socket
from urllib.parse import urlsplit

import structlog

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.kubernetes.errors import ApiError
from broker.node.manifest import (
    NodeReport,
    NotReady,
    drop_invalid,
    is_stored,
    latest_conditions,
    node_addresses,
    node_status,
    status_patch,
)
from broker.types import Object

PERIOD = 10.0
"""Seconds between two polls of the provider, and the longest duration of one."""
RETRY = 2.0
"""Seconds between two polls while the node is not ready."""
HEARTBEAT = 300.0
"""Seconds after which an unchanged status is written again."""
FAILURES_BEFORE_NOT_READY = 3

log = structlog.get_logger()


class NodeStatus:
    """Computes and writes `status` of the Node.

    Args:
        dependencies: of the node; capacity, addresses and readiness of its `node` are updated.
        port: port of the kubelet API.
        own_ip: IP address at which the API server reaches the kubelet API.
    """

    def __init__(self, dependencies: Dependencies, *, port: int, own_ip: str) -> None:
        self._settings = dependencies.settings
        self._client = dependencies.client
        self._provider = dependencies.provider
        self._node = dependencies.node
        self._clock = dependencies.clock
        self._random = dependencies.random
        self._port = port
        self._own_ip = own_ip
        self._path = f"/api/v1/nodes/{self._node.name}/status"
        self._report = NodeReport()
        self._failures = FAILURES_BEFORE_NOT_READY  # not ready before the provider's first answer
        self._error = "the provider has not answered yet"
        self._conditions: list[Object] = []
        self._written: Object = {}
        self._stored: Object = {}
        self._written_at = 0.0

    async def poll_provider(self) -> None:
        """Read capacity, conditions and addresses of the node from the provider."""
        try:
            async with asyncio.timeout(PERIOD), asyncio.TaskGroup() as group:
                capacity = group.create_task(self._provider.capacity())
                conditions = group.create_task(self._provider.conditions())
                addresses = group.create_task(self._provider.addresses())
        except* (ProviderError, TimeoutError) as exc:
            self._failures += 1
            self._error = str(exc.exceptions[0]) or "the provider does not answer in time"
            if self._node.ready or not self._written:  # once for each outage
                log.warning("node capacity and conditions could not be read from the provider", error=self._error)
        else:
            if self._failures >= FAILURES_BEFORE_NOT_READY:
                log.info("node capacity and conditions read from the provider")
            self._failures = 0
            report = NodeReport(capacity.result(), tuple(conditions.result()), tuple(addresses.result()))
            valid = drop_invalid(report)
            if valid not in (report, self._report):
                log.warning("invalid capacity, conditions or addresses from the provider are ignored")
            self._report = valid
        self._node.capacity = self._node.allocatable = self._report.capacity
        self._node.addresses = await self._addresses()
        self._node.ready = self._failures < FAILURES_BEFORE_NOT_READY

    def current(self, not_ready: NotReady | None = None) -> Object:
        """Compute the current status.

        Args:
            not_ready: a cause for which the node is not ready, other than a provider that does not answer.
        """
        if not_ready is None and not self._node.ready:
            not_ready = NotReady("ProviderUnavailable", self._error)
        status = node_status(
            self._settings,
            self._report,
            addresses=self._node.addresses,
            not_ready=not_ready,
            pressures=self._node.pressures,
            before=self._conditions,
            port=self._port,
            now=self._clock(),
        )
        self._conditions = status["conditions"]
        return status

    def adopt(self, status: Object) -> None:
        """Continue from the status in Kubernetes, written by the registration or by an earlier process."""
        self._written = status
        self._conditions = []  # computed for a Node that was not created
        self.observe(status)

    def observe(self, status: Object) -> None:
        """Record the status in Kubernetes, written by this process or another client."""
        self._stored = status
        self._conditions = latest_conditions(self._conditions, status.get("conditions") or ())

    async def write(self, status: Object) -> None:
        """Write a status to Kubernetes.

        Raises:
            ApiError: the status was not written.
        """
        patch = status_patch(status, written=self._written, stored=self._stored)
        node = await self._client.patch(self._path, patch)
        self._written = status
        self._written_at = asyncio.get_running_loop().time()
        self.observe(node.get("status") or {})

    async def write_if_due(self) -> None:
        """Write the status if it differs from the one in Kubernetes, or if its heartbeat is due.

        Raises:
            ApiError: the status was not written.
        """
        status = self.current()
        due = asyncio.get_running_loop().time() - self._written_at >= HEARTBEAT
        if due or not is_stored(status, self._stored):
            await self.write(status)

    async def run(self) -> None:
        """Poll the provider and write the status, until cancelled."""
        while True:
            try:
                await self.write_if_due()
            except ApiError as exc:
                log.warning("node status not written", error=str(exc))
            await asyncio.sleep((PERIOD if self._node.ready else RETRY) * self._random.uniform(0.9, 1.0))
            await self.poll_provider()

    async def _addresses(self) -> list[Object]:
        addresses = node_addresses(
            self._report.addresses, self._own_ip, prefer_own=self._settings.pod_ip is not None
        )
        # The API server prefers DNS names, and fails with the first one that does not resolve.
        return [a for a in addresses if a["type"].endswith("IP") or await _resolves(a["address"])]


async def _resolves(name: str) -> bool:
    try:
        await asyncio.get_running_loop().getaddrinfo(name, None)
    except OSError:
        return False
    return True


def own_ip(server: str) -> str:
    """Return the local IP address of connections to a server; 127.0.0.1 where the server cannot be reached.

    Args:
        server: URL of the API server.
    """
    parts = urlsplit(server)
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # a datagram socket sends nothing here
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
