"""The parts of a node put together, run, and stopped in order."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from random import Random

import structlog

from broker import __version__
from broker.kubelet.health import NodeState
from broker.kubelet.server import serve
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.errors import ApiError
from broker.metrics import Metrics
from broker.node.lease import Lease
from broker.node.manifest import Problem
from broker.node.registration import Registration
from broker.node.status import NodeStatus, own_ip
from broker.node_info import NodeFacts
from broker.pods.controller import PodController
from broker.pods.store import PodStore
from broker.provider import Provider
from broker.settings import Settings

DRAIN_TIMEOUT = 10.0
"""Seconds that pods which are being worked on have when the node stops."""
_GOODBYE_TIMEOUT = 5.0
_STOPPING = Problem("NodeShutdown", "the node has stopped; it will go on with its pods when it is back")

log = structlog.get_logger()


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class Node:
    """A node of a cluster.

    Args:
        settings: what it is.
        cluster: which API server it belongs to.
        clock: gives the time.
        random: for jitter.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: ClusterConfig,
        *,
        clock: Callable[[], datetime] = utc_now,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter is no secret
        self._last_sync: datetime | None = None
        self.facts = NodeFacts(settings.node_name)
        self.port: int | None = None
        """Where the kubelet API listens, once it does."""

    async def run(self, stop: asyncio.Event) -> None:
        """Be a node until `stop` is set, then come to an end in good order; Node and lease stay.

        Raises:
            ConfigurationError: a certificate cannot be used.
            OSError: a port cannot be listened on.
        """
        settings, cluster, clock, random = self._settings, self._cluster, self._clock, self._random
        metrics = Metrics()
        store = PodStore()
        ip = settings.pod_ip
        if ip is None:
            ip = await asyncio.to_thread(own_ip, cluster.server)
        async with AsyncExitStack() as stack:
            user_agent = f"virtual-kubelet-web/{__version__}"
            client = Client(cluster, user_agent=user_agent, observe=metrics.kubernetes_request)
            stack.push_async_callback(client.close)
            token = settings.provider_token
            provider = Provider(
                settings.web_endpoint_url,
                token=token.get_secret_value() if token else None,
                timeout=settings.provider_timeout,
                observe=metrics.provider_request,
            )
            stack.push_async_callback(provider.close)
            server = await serve(
                settings,
                client=client,
                provider=provider,
                pods=store,
                state=self._state,
                addresses=[ip],
                registry=metrics.registry,
                clock=clock,
            )
            stack.push_async_callback(server.close)
            self.port = server.port
            metrics.watch_node(
                pods=lambda: len(store), ready=lambda: self.facts.ready, last_sync=lambda: self._last_sync
            )
            status = NodeStatus(
                settings, client, provider, self.facts, port=server.port, own_ip=ip, clock=clock, random=random
            )
            registration = Registration(settings, client, self.facts, status, clock=clock, random=random)
            lease = Lease(client, self.facts, clock=clock, random=random)
            controller = PodController(
                client,
                provider,
                self.facts,
                settings,
                store=store,
                clock=clock,
                random=random,
                on_sync=self._note_sync,
            )
            log.info(
                "starting",
                node=settings.node_name,
                version=__version__,
                api_server=cluster.server,
                provider=settings.web_endpoint_url,
                kubelet_port=server.port,
            )
            node = asyncio.create_task(_keep_node(registration, status, lease), name="node")
            pods = asyncio.create_task(controller.run(), name="pods")
            await self._until_stopped(stop, node, pods)
            controller.stop()
            await _end(pods, timeout=DRAIN_TIMEOUT)
            await _end(node, timeout=0)
            if self.facts.uid:
                await _say_goodbye(status)
            log.info("stopped", node=settings.node_name)

    def _state(self) -> NodeState:
        return NodeState(self._last_sync, self.facts.ready)

    def _note_sync(self, now: datetime) -> None:
        self._last_sync = now

    async def _until_stopped(self, stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
        """Wait for the word to stop; a task that ends before it has failed, and the node with it."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if stopping not in done:
                for task in done:
                    task.result()
                raise RuntimeError("a part of the node has ended without a word")
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        finally:
            stopping.cancel()


async def _keep_node(registration: Registration, status: NodeStatus, lease: Lease) -> None:
    await status.look()
    await registration.register()
    async with asyncio.TaskGroup() as group:
        group.create_task(registration.run(), name="registration")
        group.create_task(status.run(), name="node status")
        group.create_task(lease.run(), name="lease")


async def _end(task: asyncio.Task[None], *, timeout: float) -> None:
    """Wait for the end of a task, then cancel it; what goes wrong at the end is logged."""
    await asyncio.wait([task], timeout=timeout)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (failure := task.exception()):
        log.error("a part of the node failed as it stopped", part=task.get_name(), exc_info=failure)


async def _say_goodbye(status: NodeStatus) -> None:
    """Tell Kubernetes at once what it would find out in 40 seconds."""
    try:
        async with asyncio.timeout(_GOODBYE_TIMEOUT):
            await status.tell(status.current(_STOPPING))
    except (ApiError, TimeoutError) as exc:
        log.warning("Kubernetes could not be told that the node stops", error=str(exc) or "no answer in time")
