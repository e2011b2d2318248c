"""A node in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from broker.dependencies import Clock, Dependencies, utc_now
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.node_info import NodeInfo
from broker.nodes import Nodes
from broker.provider import ProviderClient
from broker.runner import Broker
from broker.settings import Settings


def settings_of_a_node(provider_url: str, **settings: Any) -> Settings:
    """Return settings with which many nodes can run on one machine."""
    given = {"node_name": "node", "kubelet_host": "127.0.0.1", "kubelet_port": 0, "pod_ip": "127.0.0.1"}
    return Settings.model_validate({**given, "web_endpoint_url": provider_url, **settings})


def dependencies_of(
    client: Client,
    node: NodeInfo,
    *,
    provider: ProviderClient | None = None,
    settings: Settings | None = None,
    clock: Clock = utc_now,
) -> Dependencies:
    """Return the dependencies of a node; without a provider, requests to it fail."""
    url = "http://127.0.0.1:1"
    return Dependencies(
        settings=settings or settings_of_a_node(url, node_name=node.name),
        client=client,
        provider=provider or ProviderClient(url),
        nodes=Nodes([node]),
        clock=clock,
        random=Random(1),
    )


@asynccontextmanager
async def running_node(settings: Settings, config: ClusterConfig) -> AsyncIterator[Broker]:
    """Run a node for the duration of the block."""
    node = Broker(settings, config, random=Random(1))
    stop = asyncio.Event()
    task = asyncio.create_task(node.run(stop), name="the node under test")
    try:
        yield node
        assert not task.done(), task.result()
    finally:
        stop.set()
        await task
