"""Reads the nodes from the provider: once for all of them, or each where the provider's nodes differ.

A provider with the extension `nodes` is asked for each node by its name. A poll asks for the nodes that were asked
for longest ago, so that the rate of requests does not grow with the number of nodes; a node is asked for before it
is registered too.

Ten seconds are the kubelet's: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from heapq import nsmallest

import structlog

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.node.report import NodeReport, drop_invalid, node_addresses
from broker.provider.answer import NodeDetails
from broker.types import Object

PERIOD = 10.0
"""Seconds between two polls of the provider, and the longest duration of one."""
RETRY = 2.0
"""Seconds between two polls while the provider does not answer."""
FAILURES_BEFORE_NOT_READY = 3
NODES_PER_POLL = 50
_AT_ONCE = 8

log = structlog.get_logger()


class NodeReporter:
    """The provider's last reports.

    Args:
        dependencies: of the broker.
        own_ip: IP address at which the API server reaches the kubelet API.

    Attributes:
        error: why the provider did not answer last.
    """

    def __init__(self, dependencies: Dependencies, *, own_ip: str) -> None:
        self._provider = dependencies.provider
        self._nodes = dependencies.nodes
        self._random = dependencies.random
        self._own_ip = own_ip
        self._prefer_own = dependencies.settings.pod_ip is not None
        self._failures = FAILURES_BEFORE_NOT_READY  # not ready before the provider's first answer
        self._has_logged = False
        self._differ = self._has_answered = False
        self._general = NodeReport(addresses=tuple(self._addresses([])))
        self._reports: dict[str, NodeReport] = {}
        self._asked: dict[str, float] = {}
        self._reading = asyncio.Semaphore(_AT_ONCE)
        self.error = "the provider has not answered yet"

    @property
    def ready(self) -> bool:
        """Whether the provider answers."""
        return self._failures < FAILURES_BEFORE_NOT_READY

    def of(self, node: str) -> NodeReport:
        """Return the last report of a node without its invalid entries, with the addresses to publish.

        A node that the provider was not asked for yet has the report without a name.
        """
        return self._reports.get(node, self._general) if self._differ else self._general

    def has_read(self, node: str) -> bool:
        """Return whether the provider has answered for a node."""
        return node in self._reports if self._differ else self._has_answered

    async def read(self, node: str) -> None:
        """Read a node that is to be registered, if nodes differ and the provider answers; else a poll reads it."""
        async with self._reading:
            if self._differ and not self._failures:
                try:
                    await self._read([node])
                except (ProviderError, TimeoutError):
                    self._failures = max(self._failures, 1)

    async def poll(self) -> None:
        """Read the report of all nodes from the provider, or of some where they differ."""
        was_ready = self.ready
        try:
            async with asyncio.timeout(PERIOD):
                with suppress(ProviderError):  # what the other requests return decides
                    self._differ = await self._provider.supports("nodes")
            await self._read(self._next() or [None])
        except (ProviderError, TimeoutError) as exc:
            self._failures += 1
            self.error = str(exc) or "the provider does not answer in time"
            if was_ready or not self._has_logged:  # once for each outage
                log.warning("node capacity and conditions could not be read from the provider", error=self.error)
                self._has_logged = True
        else:
            self._has_answered = True
            if not was_ready:
                log.info("node capacity and conditions read from the provider")
            self._failures = 0

    async def run(self, on_change: Callable[[], None]) -> None:
        """Poll the provider, until cancelled.

        Args:
            on_change: is called when a report or the provider's readiness has changed.
        """
        before = self._state()
        while True:
            await asyncio.sleep((PERIOD if self.ready else RETRY) * self._random.uniform(0.9, 1.0))
            await self.poll()
            if (now := self._state()) != before:
                before = now
                on_change()

    def _state(self) -> tuple[object, ...]:
        return self._differ, self._general, dict(self._reports), self.ready, "" if self.ready else self.error

    def _next(self) -> list[str]:
        """Return the nodes that were asked for longest ago; none where nodes do not differ."""
        for known in (self._asked, self._reports):
            for name in known.keys() - self._nodes.keys():
                del known[name]
        if not self._differ:
            return []
        return nsmallest(NODES_PER_POLL, self._nodes, key=lambda name: self._asked.get(name, 0.0))

    async def _read(self, nodes: Iterable[str | None]) -> None:
        """Read reports; None is that without a name.

        Raises:
            ProviderError, TimeoutError: none of them could be read.
        """
        read: list[tuple[str | None, NodeReport]] = []
        errors: list[Exception] = []
        limit = asyncio.Semaphore(_AT_ONCE)

        async def read_one(node: str | None) -> None:
            async with limit:
                try:
                    read.append((node, await self._request(node)))
                except ProviderError as exc:
                    errors.append(exc)

        try:
            async with asyncio.timeout(PERIOD), asyncio.TaskGroup() as group:
                for node in nodes:
                    group.create_task(read_one(node))
        except TimeoutError as exc:
            errors.append(exc)
        if not read:
            raise errors[0]
        await asyncio.gather(*(self._keep(node, report) for node, report in read))

    async def _request(self, node: str | None) -> NodeReport:
        if node:
            self._asked[node] = asyncio.get_running_loop().time()
        capacity, conditions, addresses, details = await asyncio.gather(
            self._provider.capacity(node),
            self._provider.conditions(node),
            self._provider.addresses(node),
            self._provider.node(node) if node else _nothing(),
        )
        return NodeReport(
            capacity,
            tuple(map(_without_times, conditions)),
            tuple(addresses),
            details.labels or {},
            tuple(details.taints or ()),
            details.allocatable or {},
        )

    async def _keep(self, node: str | None, report: NodeReport) -> None:
        """Store a report, as far as it is valid."""
        valid = drop_invalid(report)
        # The API server prefers DNS names, and fails with the first one that does not resolve.
        addresses = [
            address
            for address in self._addresses(valid.addresses)
            if address["type"].endswith("IP") or await _resolves(address["address"])
        ]
        kept = valid._replace(addresses=tuple(addresses))
        if kept == (self._reports.get(node) if node else self._general):
            return
        if valid != report:
            log.warning("invalid entries of the node from the provider are ignored", node=node)
        if node:
            self._reports[node] = kept
        else:
            self._general = kept

    def _addresses(self, reported: Iterable[Object]) -> list[Object]:
        return node_addresses(reported, self._own_ip, prefer_own=self._prefer_own)


def _without_times(condition: Object) -> Object:
    """Return a condition without its times, by which each report would differ from the one before."""
    return {name: condition[name] for name in ("type", "status", "reason", "message") if name in condition}


async def _nothing() -> NodeDetails:
    return NodeDetails()


async def _resolves(name: str) -> bool:
    try:
        await asyncio.get_running_loop().getaddrinfo(name, None)
    except OSError:
        return False
    return True
