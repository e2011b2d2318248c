"""The status of the node: the provider is asked every ten seconds, Kubernetes told of changes.

Ten seconds and five minutes are the kubelet's: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

import asyncio
import socket
from collections.abc import Callable
from datetime import datetime
from random import Random
from urllib.parse import urlsplit

import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError
from broker.kubernetes.objects import Object
from broker.node.manifest import (
    Problem,
    Report,
    cleaned,
    node_addresses,
    node_status,
    status_patch,
    without_heartbeats,
)
from broker.node_info import NodeFacts
from broker.provider import Provider, ProviderError
from broker.settings import Settings

PERIOD = 10.0
"""Seconds between two looks at the provider, and the longest that one may take."""
RETRY = 2.0
"""Seconds between two looks at a provider that is not there."""
HEARTBEAT = 300.0
"""Seconds after which a status is sent though nothing has changed."""
FAILURES_BEFORE_NOT_READY = 3

log = structlog.get_logger()


class NodeStatus:
    """What Kubernetes is told of the node.

    Args:
        settings: what the node is.
        client: Kubernetes.
        provider: the provider.
        facts: gets what the provider says.
        port: where the kubelet API listens.
        own_ip: an address at which the API server reaches this program.
        clock: gives the time.
        random: for jitter.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        provider: Provider,
        facts: NodeFacts,
        *,
        port: int,
        own_ip: str,
        clock: Callable[[], datetime],
        random: Random,
    ) -> None:
        self._settings = settings
        self._client = client
        self._provider = provider
        self._facts = facts
        self._port = port
        self._own_ip = own_ip
        self._clock = clock
        self._random = random
        self._path = f"/api/v1/nodes/{settings.node_name}/status"
        self._report = Report()
        self._failures = FAILURES_BEFORE_NOT_READY  # until the provider has answered for the first time
        self._trouble = "the provider has not answered yet"
        self._conditions: list[Object] = []
        self._told: Object = {}
        self._told_at = 0.0

    async def look(self) -> None:
        """Ask the provider how its node is."""
        try:
            async with asyncio.timeout(PERIOD), asyncio.TaskGroup() as group:
                capacity = group.create_task(self._provider.capacity())
                conditions = group.create_task(self._provider.conditions())
                addresses = group.create_task(self._provider.addresses())
        except* (ProviderError, TimeoutError) as exc:
            self._failures += 1
            self._trouble = str(exc.exceptions[0]) or "the provider does not answer in time"
            if self._facts.ready or not self._told:  # not each time, once that is known
                log.warning("the provider does not answer for its node", error=self._trouble)
        else:
            if self._failures >= FAILURES_BEFORE_NOT_READY:
                log.info("the provider answers for its node")
            self._failures = 0
            report = Report(capacity.result(), tuple(conditions.result()), tuple(addresses.result()))
            usable = cleaned(report)
            if usable not in (report, self._report):
                log.warning("the provider says of its node what Kubernetes would not take; it is left out")
            self._report = usable
        self._facts.capacity = self._facts.allocatable = self._report.capacity
        self._facts.addresses = await self._addresses()
        self._facts.ready = self._failures < FAILURES_BEFORE_NOT_READY

    def current(self, problem: Problem | None = None) -> Object:
        """Compute the status as it is now.

        Args:
            problem: why the node is not ready, where it is not the provider's silence.
        """
        if problem is None and not self._facts.ready:
            problem = Problem("ProviderUnavailable", self._trouble)
        status = node_status(
            self._settings,
            self._report,
            addresses=self._facts.addresses,
            problem=problem,
            before=self._conditions,
            port=self._port,
            now=self._clock(),
        )
        self._conditions = status["conditions"]
        return status

    def begin_from(self, status: Object) -> None:
        """Take over the status that Kubernetes has, from an earlier run or from the registration."""
        self._told = status
        self._conditions = status.get("conditions") or []

    async def tell(self, status: Object) -> None:
        """Tell Kubernetes a status.

        Raises:
            ApiError: it was not told.
        """
        await self._client.patch(self._path, status_patch(status, self._told))
        self._told = status
        self._told_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Keep the status true, for ever."""
        while True:
            try:
                await self._tell_news()
            except ApiError as exc:
                log.warning("the status of the node cannot be written", error=str(exc))
            await asyncio.sleep((PERIOD if self._facts.ready else RETRY) * self._random.uniform(0.9, 1.0))
            await self.look()

    async def _tell_news(self) -> None:
        status = self.current()
        due = asyncio.get_running_loop().time() - self._told_at >= HEARTBEAT
        if due or not self._told.get("conditions") or without_heartbeats(status) != without_heartbeats(self._told):
            await self.tell(status)

    async def _addresses(self) -> list[Object]:
        addresses = node_addresses(
            self._report.addresses, self._own_ip, prefer_own=self._settings.pod_ip is not None
        )
        # The API server prefers names, and fails with the first that does not resolve.
        return [a for a in addresses if a["type"].endswith("IP") or await _resolves(a["address"])]


async def _resolves(name: str) -> bool:
    try:
        await asyncio.get_running_loop().getaddrinfo(name, None)
    except OSError:
        return False
    return True


def own_ip(server: str) -> str:
    """Find the address of this machine from which it reaches a server; 127.0.0.1 where it reaches none.

    Args:
        server: the URL of the API server.
    """
    parts = urlsplit(server)
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # of a datagram socket: nothing is sent
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
