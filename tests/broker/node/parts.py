"""The parts of one node, between an API server and a provider."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from broker.dependencies import Dependencies
from broker.fleet.controller import FleetController
from broker.fleet.members import Members
from broker.fleet.pools import Fleet
from broker.node.leases import Leases
from broker.node.registration import Registration
from broker.node.reporter import NodeReporter
from broker.node.status import NodeStatus
from broker.node_info import NodeInfo
from broker.node_spec import NodeSpec
from broker.pods.controller import PodController
from broker.pods.store import PodStore
from tests.broker.waiting import eventually


class NodeParts:
    """Registration and status of a node.

    Attributes:
        info: the node.
        reporter: the provider's report.
        status: the status.
        registration: the registration.
    """

    def __init__(self, dependencies: Dependencies, *, own_ip: str = "127.0.0.1") -> None:
        self._dependencies = dependencies
        (self.info,) = dependencies.nodes.values()
        self._spec = NodeSpec.of_settings(dependencies.settings)
        self.reporter = NodeReporter(dependencies, own_ip=own_ip)
        self.status = NodeStatus(dependencies, self.info, self._spec, reporter=self.reporter, port=10250)
        self.registration = Registration(dependencies, self.info, self._spec, self.status)

    async def poll_provider(self) -> None:
        """Read the provider's report, and take it into account."""
        await self.reporter.poll()
        self.status.apply_report()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[NodeInfo]:
        """Run the node for the duration of the block, and yield what it knows of itself."""
        async with running(self._dependencies, Fleet((self._spec,)), self.reporter):
            await eventually(lambda: self._dependencies.nodes[self._spec.name].holds_lease)
            yield self._dependencies.nodes[self._spec.name]


@asynccontextmanager
async def running(dependencies: Dependencies, fleet: Fleet, reporter: NodeReporter) -> AsyncIterator[Members]:
    """Run the nodes of a fleet for the duration of the block; their pods are not reconciled."""
    store = PodStore()
    members = Members(
        dependencies,
        controller=PodController(dependencies, store=store),
        store=store,
        reporter=reporter,
        leases=Leases(dependencies.client, are_many=dependencies.settings.is_fleet),
        port=10250,
    )
    controller = FleetController(dependencies, members)
    task = asyncio.create_task(controller.run(fleet), name="the nodes under test")
    try:
        yield members
        assert not task.done(), task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
