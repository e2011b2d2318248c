"""A kubelet API between a fake cluster and a stub provider."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from broker.kubelet import tail_logs as tail
from broker.kubelet.health import NodeHealth
from broker.kubelet.server import KubeletServer, serve
from broker.kubelet.stats.source import UsageSources
from broker.kubernetes.client import Client
from broker.metrics import Metrics
from broker.node_info import NodeInfo
from broker.provider import ProviderClient
from broker.settings import Settings
from tests.broker.certificates import Authority
from tests.broker.nodes import dependencies_of
from tests.stub_provider import LogProvider

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


class Node:
    """Pods, health and metrics of a node."""

    def __init__(self) -> None:
        self.by_name: dict[tuple[str, str], dict[str, Any]] = {}
        self.health = NodeHealth(last_sync=NOW, provider_ready=True)
        self.metrics = Metrics()
        self.registry = self.metrics.registry
        self.put()

    def find(self, namespace: str, name: str) -> bytes | None:
        pod = self.by_name.get((namespace, name))
        return json.dumps(pod).encode() if pod else None

    def all(self) -> Iterable[bytes]:
        return [json.dumps(pod).encode() for pod in self.by_name.values()]

    def uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.by_name.values()}

    def on(self, _: str) -> "Node":
        return self

    def node_of(self, namespace: str, name: str) -> str | None:
        return "node-1" if (namespace, name) in self.by_name else None

    def put(self, name: str = "web", *, state: str = "running", restarts: int = 0) -> None:
        """Store a pod `shop/<name>` with a container `app` in this state."""
        self.by_name["shop", name] = {
            "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"},
            "spec": {"initContainers": [{"name": "setup"}], "containers": [{"name": "app", "image": "app:1"}]},
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "app", "state": {state: {}}, "restartCount": restarts}],
            },
        }


class Answer(NamedTuple):
    """A response."""

    status: int
    body: bytes
    content_type: str = ""

    def json(self) -> Any:
        return json.loads(self.body)


class Kubelet:
    """The API with a client."""

    def __init__(self, server: KubeletServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.url = f"https://127.0.0.1:{server.port}"

    async def get(self, path: str, *, token: str | None = None, method: str = "GET", **query: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(method, self.url + path, params=query, headers=headers) as response:
            return Answer(response.status, await response.read(), response.content_type)

    def follow(self, **query: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Follow the log of `app` in `shop/web`."""
        return self.session.get(f"{self.url}/containerLogs/shop/web/app", params={"follow": "true", **query})

    async def logs(self, where: str = "shop/web/app", **query: str) -> Answer:
        return await self.get(f"/containerLogs/{where}", **query)


@pytest.fixture
def node() -> Node:
    """A node with a running pod `shop/web`."""
    return Node()


@pytest.fixture(scope="session")
def other_authority() -> Authority:
    """A CA that is not trusted."""
    return Authority()


@pytest.fixture(params=[False], ids=[""])
async def stub(request: pytest.FixtureRequest) -> AsyncIterator[LogProvider]:
    """A provider that supports `tail` only, or extensions with `with_extensions`."""
    async with LogProvider(extensions=request.param).running() as stub:
        yield stub


with_extensions = pytest.mark.parametrize("stub", [True], indirect=True, ids=["extensions"])
both_kinds = pytest.mark.parametrize("stub", [True, False], indirect=True, ids=["extensions", "plain"])


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Path:
    """A directory with certificate and key of the server, and the CA of its clients."""
    signed = authority.server()
    (tmp_path / "tls.crt").write_text(signed.certificate)
    (tmp_path / "tls.key").write_text(signed.key)
    (tmp_path / "ca.crt").write_text(authority.pem)
    return tmp_path


@pytest.fixture(autouse=True)
def _follow_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "INTERVAL", 0.005)


Start = Callable[..., Awaitable[Kubelet]]


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    """TLS of a client of the API."""
    return ssl.create_default_context(cadata=authority.pem)


@pytest.fixture
async def start(
    *, client: Client, stub: LogProvider, node: Node, files: Path, trust: ssl.SSLContext
) -> AsyncIterator[Start]:
    """Function that starts the API with these settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Kubelet:
            defaults = {
                "node_name": "node-1",
                "web_endpoint_url": stub.url,
                "kubelet_host": "127.0.0.1",
                "kubelet_port": 0,
                "tls_cert_file": files / "tls.crt",
                "tls_key_file": files / "tls.key",
            }
            chosen = Settings.model_validate(defaults | settings)
            provider = ProviderClient(chosen.web_endpoint_url)
            stack.push_async_callback(provider.close)
            info = NodeInfo(chosen.node_name)
            dependencies = dependencies_of(client, info, provider=provider, settings=chosen, clock=lambda: NOW)
            server = await serve(
                dependencies,
                pods=node,
                health=lambda: node.health,
                addresses=["127.0.0.1"],
                metrics=node.metrics,
                usage=UsageSources(dependencies, node),
            )
            stack.push_async_callback(server.close)
            # One connection per request: a client is authenticated when it connects.
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, force_close=True, limit=0))
            stack.push_async_callback(session.close)
            return Kubelet(server, session)

        yield start


@pytest.fixture
async def kubelet(start: Start) -> Kubelet:
    """The API without authentication and authorization."""
    return await start(authentication=False, authorization=False)
