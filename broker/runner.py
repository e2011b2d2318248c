"""Builds the parts of a node, runs them, and stops them in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from random import Random

import structlog

from broker import __version__
from broker.dependencies import Clock, Dependencies, utc_now
from broker.kubelet.health import NodeHealth
from broker.kubelet.server import serve
from broker.kubelet.stats.source import UsageSource
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.errors import ApiError
from broker.metrics import Metrics
from broker.node.lease import Lease, LeaseLost
from broker.node.manifest import NotReady
from broker.node.registration import Registration
from broker.node.status import NodeStatus, own_ip
from broker.node_info import NodeInfo
from broker.pods.controller import PodController
from broker.pods.store import PodStore
from broker.provider import ProviderClient
from broker.settings import Settings

DRAIN_TIMEOUT = 10.0
"""Seconds for the reconciles in progress when the node stops."""
_LAST_STATUS_TIMEOUT = 5.0
_SHUTDOWN = NotReady("NodeShutdown", "the broker has stopped; the pods continue when it runs again")

log = structlog.get_logger()


class Node:
    """A node of a cluster.

    Args:
        settings: settings of the broker.
        cluster: the API server.
        clock: returns the current time.
        random: source of jitter.

    Attributes:
        info: name, labels, capacity and addresses of the node.
        port: port of the kubelet API; None before it listens.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: ClusterConfig,
        *,
        clock: Clock = utc_now,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter is no secret
        self._last_sync: datetime | None = None
        self._lease: Lease | None = None
        self.info = NodeInfo(settings.node_name, settings.operating_system)
        self.port: int | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain. The Node object and its lease are kept.

        Raises:
            ConfigurationError: a certificate is invalid.
            LeaseLost: another broker has taken over the node.
            OSError: a port cannot be opened.
        """
        settings = self._settings
        metrics, store = Metrics(), PodStore()
        ip = settings.pod_ip
        if ip is None:
            ip = await asyncio.to_thread(own_ip, self._cluster.server)
        async with self._connect(metrics) as dependencies, AsyncExitStack() as stack:
            usage = UsageSource(dependencies.provider, store, node_name=settings.node_name, clock=self._clock)
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
            metrics.register_node(
                pods=lambda: len(store), ready=lambda: self.info.ready, last_sync=lambda: self._last_sync
            )
            status = NodeStatus(dependencies, port=server.port, own_ip=ip)
            controller = PodController(
                dependencies,
                store=store,
                on_sync=self._record_sync,
                on_event_dropped=metrics.event_dropped,
                usage=usage.for_eviction if settings.eviction_hard else None,
            )
            log.info(
                "starting",
                node=settings.node_name,
                version=__version__,
                api_server=self._cluster.server,
                provider=settings.web_endpoint_url,
                kubelet_port=server.port,
            )
            registration = Registration(dependencies, status)
            self._lease = lease = Lease(dependencies, on_recovery=registration.refresh)
            acquired = asyncio.Event()
            node = asyncio.create_task(_run_node(status, registration, lease, acquired=acquired), name="node")
            pods = asyncio.create_task(_run_pods(controller, acquired), name="pods")
            await self._wait_for_stop(stop, node, pods)
            controller.stop()
            await _finish(pods, timeout=DRAIN_TIMEOUT if acquired.is_set() else 0)
            await _finish(node, timeout=0)
            if self.info.uid:
                await _hand_over(status, lease)
            log.info("stopped", node=settings.node_name)

    @asynccontextmanager
    async def _connect(self, metrics: Metrics) -> AsyncIterator[Dependencies]:
        """Yield the dependencies of all parts; the clients are closed at the end."""
        settings, token = self._settings, self._settings.provider_token
        async with AsyncExitStack() as stack:
            user_agent = f"virtual-kubelet-web/{__version__}"
            client = Client(self._cluster, user_agent=user_agent, observe=metrics.kubernetes_request)
            stack.push_async_callback(client.close)
            provider = ProviderClient(
                settings.web_endpoint_url,
                token=token.get_secret_value() if token else None,
                timeout=settings.provider_timeout,
                observe=metrics.provider_request,
            )
            stack.push_async_callback(provider.close)
            yield Dependencies(settings, client, provider, self.info, self._clock, self._random)

    @property
    def health(self) -> NodeHealth:
        """Connection of the node to the API server and to the provider."""
        return NodeHealth(self._last_sync, self.info.ready, self._lease.other if self._lease else None)

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
                raise RuntimeError("a task of the node has ended without an error")
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        finally:
            stopping.cancel()


async def _run_node(
    status: NodeStatus, registration: Registration, lease: Lease, *, acquired: asyncio.Event
) -> None:
    """Wait for the lease, register the node, then keep its registration, status and lease up to date.

    The Node is registered before the lease is written, because the Node owns the lease.

    Raises:
        LeaseLost: another broker has taken the lease.
    """
    await lease.wait_until_free()
    await status.poll_provider()
    await registration.register()
    await lease.acquire()
    acquired.set()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(registration.run(), name="registration")
            group.create_task(status.run(), name="node status")
            group.create_task(lease.run(), name="lease")
    except* LeaseLost as lost:
        raise lost.exceptions[0] from None


async def _run_pods(controller: PodController, acquired: asyncio.Event) -> None:
    await acquired.wait()
    await controller.run()


async def _finish(task: asyncio.Task[None], *, timeout: float) -> None:
    """Wait `timeout` seconds for a task, then cancel it; an error is logged."""
    await asyncio.wait([task], timeout=timeout)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (failure := task.exception()):
        log.error("task failed while the node stopped", task=task.get_name(), exc_info=failure)


async def _hand_over(status: NodeStatus, lease: Lease) -> None:
    """Mark the node not ready, and release its lease; Kubernetes and another broker would notice after 40 s."""
    try:
        async with asyncio.timeout(_LAST_STATUS_TIMEOUT):
            await lease.renew()  # the node may have been taken over during a pause
            await status.write(status.current(_SHUTDOWN))
            await lease.release()
    except (ApiError, LeaseLost, TimeoutError) as exc:
        log.warning("node not marked as stopped", error=str(exc) or "no answer in time")
