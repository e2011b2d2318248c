"""The broker as a process: start, exit status, stop, logs."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from broker import runner
from broker.__main__ import allow_open_files, limit_tls_buffers
from broker.pods.controller import PodController
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority
from tests.broker.nodes import settings_of_a_node
from tests.pods import a_container, a_pod
from tests.postgres import free_port
from tests.server import CLEAN, ROOT
from tests.stub_provider import StubProvider


@pytest.fixture
def kubeconfig(api: ApiServer, authority: Authority, tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text(authority.pem)
    path = tmp_path / "kubeconfig"
    document = {
        "current-context": "tests",
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "clusters": [{"name": "tests", "cluster": {"server": api.url, "certificate-authority": "ca.pem"}}],
        "users": [{"name": "tests", "user": {"token": "broker-token"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


class Broker:
    """A process with its standard error in a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    def send(self, how: signal.Signals) -> None:
        """Send a signal if the process runs."""
        with suppress(ProcessLookupError):
            os.kill(
                self.process.pid, how
            )  # send_signal() of the library may take the exit status from its watcher

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.send(how)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; return the exit status."""
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def started(log: Path, **environment: str) -> AsyncIterator[Broker]:
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "broker"],
            cwd=ROOT,
            env={**CLEAN, "LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG", "KUBELET_HOST": "127.0.0.1", **environment},
            stderr=stderr,
        )
    try:
        yield Broker(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


Start = Callable[..., Any]


@pytest.fixture
def start(kubeconfig: Path, stub: StubProvider, tmp_path: Path) -> Start:
    """A function that starts a broker between the API server and a provider, for an `async with`."""
    given = {"WEB_ENDPOINT_URL": stub.url, "NODE_NAME": "node", "KUBECONFIG": str(kubeconfig), "KUBELET_PORT": "0"}
    return lambda **environment: started(tmp_path / "broker.log", **{**given, **environment})


def ready(api: ApiServer) -> tuple[str, str] | None:
    """The node's condition Ready: status and reason."""
    node = api.store.find("nodes", "node") or {"status": {}}
    conditions = node["status"].get("conditions") or []
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), None)


async def is_ready(api: ApiServer) -> None:
    """Wait until the node is ready, and the broker knows: it has taken the lease."""
    await api.until(lambda: (ready(api) or ("",))[0] == "True" and api.store.list("leases"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_broker(api: ApiServer, start: Start, how: signal.Signals) -> None:
    async with start() as broker:
        await is_ready(api)
        assert await broker.stop(how) == 0
    assert ready(api) == ("False", "NodeShutdown")
    events = [json.loads(line)["event"] for line in broker.log.read_text().splitlines()]
    assert "starting" in events
    assert events[-1] == "stopped"


async def test_a_pending_create_completes_before_the_exit(
    api: ApiServer, start: Start, stub: StubProvider
) -> None:
    async with start() as broker:
        await is_ready(api)
        with stub.hanging("/createPod") as fault:
            api.store.create("pods", a_pod("web", nodeName="node"))
            await stub.until(lambda: fault.met)
            broker.send(signal.SIGTERM)
        assert await broker.ended() == 0
    assert stub.pods.keys() == {"default/web"}


async def test_a_hanging_api_server_does_not_delay_exit(api: ApiServer, start: Start) -> None:
    with api.hanging():
        async with start() as broker:
            await api.until(lambda: api.requests)
            assert await broker.stop() == 0


async def test_a_second_signal_exits_at_once(api: ApiServer, start: Start, stub: StubProvider) -> None:
    async with start() as broker:
        await is_ready(api)
        with stub.hanging("/createPod") as fault:
            api.store.create("pods", a_pod("web", nodeName="node"))
            await stub.until(lambda: fault.met)
            while broker.process.returncode is None:  # the first may not have arrived yet
                broker.send(signal.SIGTERM)
                await asyncio.sleep(0.01)
    assert broker.process.returncode == -signal.SIGTERM


async def test_a_killed_broker_resumes_after_a_restart(api: ApiServer, start: Start, stub: StubProvider) -> None:
    async with start(LEASE_IDENTITY="pod-uid") as broker:
        await is_ready(api)
        api.store.create("pods", a_pod("web", nodeName="node"))
        await api.until(lambda: api.store.get("pods", "web", "default")["status"]["phase"] == "Running")
        assert await broker.stop(signal.SIGKILL) == -signal.SIGKILL
    created = api.store.get("pods", "web", "default")
    stub.requests.clear()
    async with start(LEASE_IDENTITY="pod-uid"):
        api.store.create("pods", a_pod("another", nodeName="node"))
        await api.until(lambda: api.store.get("pods", "another", "default")["status"]["phase"] == "Running")
    assert [request.body["metadata"]["name"] for request in stub.requests_to("/createPod")] == ["another"]
    assert api.store.get("pods", "web", "default") == created


async def test_a_port_in_use_prevents_the_start(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with start(KUBELET_PORT=str(taken.getsockname()[1])) as broker:
            assert await broker.ended() == 1
    assert "Address already in use" in broker.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"KUBECONFIG": "/no/such/file"}, "kubeconfig /no/such/file: No such file"),
        ({"NODE_NAME": "A"}, "NODE_NAME: "),
        ({"APISERVER_CERT_LOCATION": "/no/cert", "APISERVER_KEY_LOCATION": "/no/key"}, "/no/cert"),
    ],
)
async def test_an_invalid_setting_prevents_the_start(
    start: Start, environment: dict[str, str], complaint: str
) -> None:
    async with start(**environment) as broker:
        assert await broker.ended() == 2
    assert complaint in broker.log.read_text().splitlines()[-1]


async def test_logs_and_events_contain_no_secret(api: ApiServer, start: Start, stub: StubProvider) -> None:
    secret = {"metadata": {"name": "vault", "namespace": "default"}, "data": {"key": "aHVudGVyMjA0OA=="}}
    api.store.create("secrets", secret)
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "key"}}}]
    async with start(PROVIDER_TOKEN="token-of-the-provider") as broker:
        await is_ready(api)
        with stub.failing("/createPod", 400, body=b'{"error": {"message": "not hunter2048"}}', times=1):
            api.store.create("pods", a_pod("refused", nodeName="node", containers=[a_container(env=env)]))
            await stub.until(lambda: stub.requests_to("/createPod"))
        with stub.failing("/createPod", 500, body=b"hunter2048", times=2):
            api.store.create("pods", a_pod("web", nodeName="node", containers=[a_container(env=env)]))
            await api.until(lambda: api.store.get("pods", "web", "default")["status"]["phase"] == "Running")
        await broker.stop()
    sent = stub.pods["default/web"]["spec"]["containers"][0]["env"]
    assert {"name": "KEY", "value": "hunter2048"} in sent
    output = broker.log.read_text() + json.dumps([api.store.list("events"), api.store.list("pods")])
    for value in ("hunter2048", "aHVudGVyMjA0OA", "token-of-the-provider"):
        assert value not in output


async def test_the_metrics_of_a_running_broker(api: ApiServer, start: Start) -> None:
    port = free_port()
    async with start(METRICS_ADDR=f"127.0.0.1:{port}"), ClientSession() as session:
        await is_ready(api)
        api.store.create("pods", a_pod("web", nodeName="node"))
        await api.until(lambda: api.store.get("pods", "web", "default")["status"]["phase"] == "Running")
        created = 'virtual_kubelet_web_kubernetes_request_seconds_count{code="201",method="POST"}'
        samples: dict[str, str] = {}
        async with asyncio.timeout(30):
            while (
                float(samples.get(created, 0)) < 2
            ):  # the Node and its Lease; the second may not have arrived yet
                async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                    lines = (await response.text()).splitlines()
                samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert samples["virtual_kubelet_web_pods"] == "1.0"
    assert samples["virtual_kubelet_web_node_ready"] == "1.0"
    assert float(samples["virtual_kubelet_web_last_sync_timestamp_seconds"]) > 0
    assert float(samples['virtual_kubelet_web_provider_request_seconds_count{call="/createPod",code="200"}']) == 1


async def test_a_failing_task_stops_the_node(
    api: ApiServer, cluster: Any, stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: PodController) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PodController, "run", fail)
    with pytest.raises(ZeroDivisionError):
        await runner.Broker(settings_of_a_node(stub.url), cluster).run(asyncio.Event())


def test_a_tls_connection_has_a_small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)  # restored at the end
    limit_tls_buffers()
    assert SSLProtocol.max_size == 16 * 1024


def test_open_files_suffice_for_the_sessions() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        allow_open_files(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (8392, hard)
        allow_open_files(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (8392, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
