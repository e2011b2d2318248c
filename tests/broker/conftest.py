"""A cluster and a provider for the broker: a fake API server over TLS, and the real provider under gunicorn."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
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
