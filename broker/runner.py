"""Builds the parts of the broker, runs them, and stops them in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from random import Random

import structlog

from broker import __version__
from broker.dependencies import Dependencies, utc_now
from broker.fleet.controller import FleetController
from broker.fleet.members import Members
from broker.fleet.source import source_of
from broker.kubelet.health import NodeHealth
from broker.kubelet.server import serve
from broker.kubelet.stats.source import UsageSources
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.metrics import Metrics
from broker.node.leases import CONNECTIONS, Leases
from broker.node.reporter import NodeReporter
from broker.node.status import own_ip
from broker.nodes import Nodes
from broker.pods.controller import PodController
from broker.pods.store import PodStore
from broker.provider import ProviderClient
from broker.settings import Settings

DRAIN_TIMEOUT = 10.0
"""Seconds for the reconciles in progress when the broker stops."""

log = structlog.get_logger()


class Broker:
    """The nodes of a cluster that one process runs: one, or a fleet.

    Args:
        settings: settings of the broker.
        cluster: the API server.
        random: source of jitter.

    Attributes:
        nodes: the nodes by name.
        port: port of the kubelet API; None before it listens.
    """

    def __init__(self, settings: Settings, cluster: ClusterConfig, *, random: Random | None = None) -> None:
        self._settings = settings
        self._cluster = cluster
        self._random = random or Random()  # noqa: S311 - jitter is no secret
        self._last_sync: datetime | None = None
        self._members: Members | None = None
        self._reporter: NodeReporter | None = None
        self.nodes = Nodes()
        self.port: int | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain. The Node objects and their leases are kept.

        Raises:
            ConfigurationError: a certificate or the fleet is invalid.
            LeaseLost: another broker has taken over a node.
            OSError: a port cannot be opened.
        """
        settings = self._settings
        metrics, store = Metrics(), PodStore()
        ip = settings.pod_ip
        if ip is None:
            ip = await asyncio.to_thread(own_ip, self._cluster.server)
        async with self._connect(metrics) as (dependencies, leases), AsyncExitStack() as stack:
            source = source_of(dependencies)
            fleet = await source.load()
            usage = UsageSources(dependencies, store)
            server = await serve(
                dependencies,
                pods=store,
                health=lambda: self.health,
                addresses=[ip],
                metrics=metrics,
                usage=usage,
            )
            stack.push_async_callback(server.close)
            self.port = server.port
            reporter = self._reporter = NodeReporter(dependencies, own_ip=ip)
            controller = PodController(
                dependencies,
                store=store,
                on_sync=self._record_sync,
                on_event_dropped=metrics.event_dropped,
            )
            members = self._members = Members(
                dependencies,
                controller=controller,
                store=store,
                reporter=reporter,
                leases=leases,
                port=server.port,
                usage=(lambda name: usage.of(name).for_eviction) if settings.eviction_hard else None,
            )
            metrics.register_nodes(
                nodes=lambda: len(self.nodes),
                pods=lambda: len(store),
                ready=lambda: reporter.ready,
                last_sync=lambda: self._last_sync,
            )
            log.info(
                "starting",
                node=settings.node_name,
                nodes=len(fleet.specs),
                version=__version__,
                api_server=self._cluster.server,
                provider=settings.web_endpoint_url,
                kubelet_port=server.port,
            )
            fleet_controller = FleetController(dependencies, members)
            nodes = asyncio.create_task(fleet_controller.run(fleet, source), name="nodes")
            pods = asyncio.create_task(_run_pods(controller, members.active), name="pods")
            await self._wait_for_stop(stop, nodes, pods)
            controller.stop()
            await _finish(pods, timeout=DRAIN_TIMEOUT if members.active.is_set() else 0)
            await _finish(nodes, timeout=0)
            await members.hand_over()
            log.info("stopped", node=settings.node_name)

    @asynccontextmanager
    async def _connect(self, metrics: Metrics) -> AsyncIterator[tuple[Dependencies, Leases]]:
        """Yield the dependencies of all parts; the clients are closed at the end."""
        settings, token = self._settings, self._settings.provider_token
        async with AsyncExitStack() as stack:
            user_agent = f"virtual-kubelet-web/{__version__}"
            client, renewing = (
                Client(
                    self._cluster,
                    user_agent=user_agent,
                    observe=metrics.kubernetes_request,
                    connections=connections,
                )
                for connections in (16, CONNECTIONS)
            )
            stack.push_async_callback(client.close)
            stack.push_async_callback(renewing.close)
            provider = ProviderClient(
                settings.web_endpoint_url,
                token=token.get_secret_value() if token else None,
                timeout=settings.provider_timeout,
                observe=metrics.provider_request,
            )
            stack.push_async_callback(provider.close)
            dependencies = Dependencies(settings, client, provider, self.nodes, utc_now, self._random)
            yield dependencies, Leases(renewing, are_many=settings.is_fleet)

    @property
    def health(self) -> NodeHealth:
        """Connection of the broker to the API server and to the provider."""
        return NodeHealth(
            self._last_sync,
            self._reporter is not None and self._reporter.ready,
            self._members.waits_for if self._members else None,
        )

    def _record_sync(self, now: datetime) -> None:
        self._last_sync = now

    async def _wait_for_stop(self, stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
        """Wait until `stop` is set. A task that ends earlier has failed; its error is raised."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if stopping not in done:
                for task in done:
                    task.result()
                raise RuntimeError("a task of the broker has ended without an error")
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        finally:
            stopping.cancel()


async def _run_pods(controller: PodController, active: asyncio.Event) -> None:
    await active.wait()
    await controller.run()


async def _finish(task: asyncio.Task[None], *, timeout: float) -> None:
    """Wait `timeout` seconds for a task, then cancel it; an error is logged."""
    await asyncio.wait([task], timeout=timeout)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (failure := task.exception()):
        log.error("task failed while the broker stopped", task=task.get_name(), exc_info=failure)
