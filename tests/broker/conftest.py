"""A cluster and a provider for the broker: a fake API server over TLS, and the real provider under gunicorn."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

import pytest

from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.settings import Settings
from broker.supervisor import Node
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority, server_context
from tests.server import Server

# Asked for a loop where none was ever set, Python 3.11 makes one; pytest-asyncio asks, and never closes it.
asyncio.set_event_loop(None)


@pytest.fixture
def database_kind() -> str:
    """The broker knows the provider through HTTP alone: one database is enough here."""
    return "sqlite"


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Whom the API server and its clients trust."""
    return Authority()


@pytest.fixture
async def api(authority: Authority) -> AsyncIterator[ApiServer]:
    """An API server with an empty cluster."""
    server = ApiServer(server_context(authority.server()))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def cluster(api: ApiServer, authority: Authority) -> ClusterConfig:
    """How to reach the API server, as the broker's service account."""
    trust = ssl.create_default_context(cadata=authority.pem)
    return ClusterConfig(api.url, ssl_context=trust, token="broker-token")


@pytest.fixture
async def client(cluster: ClusterConfig) -> AsyncIterator[Client]:
    """A client of the API server."""
    client = Client(cluster)
    yield client
    await client.close()


@pytest.fixture
def provider(server: Server) -> Server:
    """The real provider, which keeps its pods in SQLite."""
    return server


@pytest.fixture
def provider_url(provider: Server) -> str:
    """Where the provider is."""
    return f"http://127.0.0.1:{provider.port}"


def settings_of_a_node(provider_url: str, **settings: Any) -> Settings:
    """Settings with which many nodes can run beside each other on one machine."""
    given = {"node_name": "node", "kubelet_host": "127.0.0.1", "kubelet_port": 0, "pod_ip": "127.0.0.1"}
    return Settings.model_validate({**given, "web_endpoint_url": provider_url, **settings})


RunNode = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture
def run_node(cluster: ClusterConfig, request: pytest.FixtureRequest) -> RunNode:
    """A function that runs a whole node, for an `async with`; with the real provider, or the one of a URL."""

    @asynccontextmanager
    async def run(provider_url: str | None = None, **settings: Any) -> AsyncIterator[Node]:
        url = provider_url or request.getfixturevalue("provider_url")
        node = Node(settings_of_a_node(url, **settings), cluster, random=Random(1))
        stop = asyncio.Event()
        task = asyncio.create_task(node.run(stop), name="the node under test")
        try:
            yield node
            assert not task.done(), task.result()
        finally:
            stop.set()
            await task

    return run


@pytest.fixture
async def node(run_node: RunNode, api: ApiServer) -> AsyncIterator[Node]:
    """A node between API server and provider, registered and ready."""
    async with run_node() as node:
        await api.until(lambda: is_ready(api.store.find("nodes", "node")))
        yield node


def is_ready(obj: dict[str, Any] | None) -> bool:
    """Tell whether a Node, or a Pod, has the condition Ready."""
    conditions = (obj or {}).get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
