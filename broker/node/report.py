"""Reads capacity, conditions and addresses from the provider, once for all nodes of the broker.

Ten seconds are the kubelet's: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

import asyncio
from collections.abc import Callable

import structlog

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.node.manifest import NodeReport, drop_invalid, node_addresses
from broker.types import Object

PERIOD = 10.0
"""Seconds between two polls of the provider, and the longest duration of one."""
RETRY = 2.0
"""Seconds between two polls while the provider does not answer."""
FAILURES_BEFORE_NOT_READY = 3

log = structlog.get_logger()


class NodeReporter:
    """The provider's last report.

    Args:
        dependencies: of the broker.
        own_ip: IP address at which the API server reaches the kubelet API.

    Attributes:
        report: capacity, conditions and addresses without invalid entries; the last ones while the provider does
            not answer.
        addresses: the addresses to publish.
        error: why the provider did not answer last.
    """

    def __init__(self, dependencies: Dependencies, *, own_ip: str) -> None:
        self._settings = dependencies.settings
        self._provider = dependencies.provider
        self._random = dependencies.random
        self._own_ip = own_ip
        self._failures = FAILURES_BEFORE_NOT_READY  # not ready before the provider's first answer
        self._has_logged = False
        self.report = NodeReport()
        self.addresses: list[Object] = []
        self.error = "the provider has not answered yet"

    @property
    def ready(self) -> bool:
        """Whether the provider answers."""
        return self._failures < FAILURES_BEFORE_NOT_READY

    async def poll(self) -> None:
        """Read capacity, conditions and addresses from the provider."""
        was_ready = self.ready
        try:
            async with asyncio.timeout(PERIOD), asyncio.TaskGroup() as group:
                capacity = group.create_task(self._provider.capacity())
                conditions = group.create_task(self._provider.conditions())
                addresses = group.create_task(self._provider.addresses())
        except* (ProviderError, TimeoutError) as exc:
            self._failures += 1
            self.error = str(exc.exceptions[0]) or "the provider does not answer in time"
            if was_ready or not self._has_logged:  # once for each outage
                log.warning("node capacity and conditions could not be read from the provider", error=self.error)
                self._has_logged = True
        else:
            if not was_ready:
                log.info("node capacity and conditions read from the provider")
            self._failures = 0
            report = NodeReport(capacity.result(), tuple(conditions.result()), tuple(addresses.result()))
            valid = drop_invalid(report)
            if valid not in (report, self.report):
                log.warning("invalid capacity, conditions or addresses from the provider are ignored")
            self.report = valid
        self.addresses = await self._addresses()

    async def run(self, on_change: Callable[[], None]) -> None:
        """Poll the provider, until cancelled.

        Args:
            on_change: is called when the report or the provider's readiness has changed.
        """
        before = self._state()
        while True:
            await asyncio.sleep((PERIOD if self.ready else RETRY) * self._random.uniform(0.9, 1.0))
            await self.poll()
            if (now := self._state()) != before:
                before = now
                on_change()

    def _state(self) -> tuple[object, ...]:
        return self.report, self.addresses, self.ready, "" if self.ready else self.error

    async def _addresses(self) -> list[Object]:
        addresses = node_addresses(
            self.report.addresses, self._own_ip, prefer_own=self._settings.pod_ip is not None
        )
        # The API server prefers DNS names, and fails with the first one that does not resolve.
        return [a for a in addresses if a["type"].endswith("IP") or await _resolves(a["address"])]


async def _resolves(name: str) -> bool:
    try:
        await asyncio.get_running_loop().getaddrinfo(name, None)
    except OSError:
        return False
    return True
