"""A cluster and a provider for the broker: a fake API server over TLS, and the real provider under gunicorn."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator

import pytest

from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig, load
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority, server_context
from tests.broker.cluster import Corner, corner_of
from tests.server import Server
from tests.stub_provider import StubProvider, providing

# Python 3.11 creates an event loop on request if none was set; pytest-asyncio requests one and never closes it.
asyncio.set_event_loop(None)


@pytest.fixture
def database_kind() -> str:
    """Use SQLite: the broker uses the provider through HTTP only."""
    return "sqlite"


@pytest.fixture(scope="session")
def authority() -> Authority:
    """CA of the API server and its clients."""
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
    """Connection settings of the broker's service account."""
    trust = ssl.create_default_context(cadata=authority.pem)
    return ClusterConfig(api.url, ssl_context=trust, token="broker-token")


@pytest.fixture
async def client(cluster: ClusterConfig) -> AsyncIterator[Client]:
    """A client of the API server."""
    client = Client(cluster)
    yield client
    await client.close()


@pytest.fixture
async def stub() -> AsyncIterator[StubProvider]:
    """A stand-in for a provider, with the ten endpoints and no extension."""
    async with providing() as stub:
        yield stub


@pytest.fixture
def provider(server: Server) -> Server:
    """The real provider, on SQLite."""
    return server


@pytest.fixture
def provider_url(provider: Server) -> str:
    """URL of the provider."""
    return f"http://127.0.0.1:{provider.port}"


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
def config(request: pytest.FixtureRequest) -> ClusterConfig:
    """The fake cluster, then the real one."""
    if request.param == "fake":
        found: ClusterConfig = request.getfixturevalue("cluster")
        return found
    if "cluster" in request.config.option.markexpr and os.environ.get("KUBECONFIG"):
        return load(os.environ["KUBECONFIG"], {})
    pytest.skip("needs -m cluster and KUBECONFIG")


@pytest.fixture
async def corner(config: ClusterConfig) -> AsyncIterator[Corner]:
    """The namespace and node of this test in the cluster."""
    async with corner_of(config) as corner:
        yield corner
