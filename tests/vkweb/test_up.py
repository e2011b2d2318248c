"""`vkweb up`: provider and broker together, on the fake API server."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority
from tests.broker.conftest import api, authority
from tests.broker.kubeconfig import write_kubeconfig
from tests.broker.waiting import eventually
from tests.pods import a_pod
from tests.postgres import free_port
from tests.server import CLEAN, ROOT, Client
from tests.waiting import is_alive

__all__ = ["api", "authority"]  # fixtures


def children_of(pid: int) -> list[int]:
    """Return the IDs of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Up:
    """A process `vkweb up`, and its log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    def children(self) -> list[int]:
        """Return the IDs of its children: the provider, then the broker."""
        return children_of(self.process.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to `vkweb up` alone."""
        os.kill(self.process.pid, number)

    async def ended(self) -> int:
        """Wait for the end; return the exit status."""
        async with asyncio.timeout(60):
            return await self.process.wait()


Start = Callable[..., AbstractAsyncContextManager[Up]]


@pytest.fixture
def start(api: ApiServer, authority: Authority, tmp_path: Path) -> Start:
    """A function that starts `vkweb up` in an empty folder."""
    given = {
        "KUBECONFIG": str(write_kubeconfig(tmp_path / "kubeconfig", api, authority)),
        "KUBELET_HOST": "127.0.0.1",
        "LOG_FORMAT": "json",
        "NODE_NAME": "node",
        "VKUBELET_POD_IP": "127.0.0.1",
        "WORKERS": "1",
    }

    @asynccontextmanager
    async def run(*, log: Path = tmp_path / "log", **environment: str) -> AsyncIterator[Up]:
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, str(ROOT / "vkweb"), "up", "--kubelet-port=0"],
                cwd=tmp_path,
                env={**CLEAN, "PORT": str(free_port()), **given, **environment},
                stderr=stderr,
            )
        up = Up(process, log)
        try:
            yield up
        finally:
            if process.returncode is None:
                for pid in [*up.children(), process.pid]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await process.wait()

    return run


async def is_ready(api: ApiServer) -> None:
    """Wait until the node is ready."""

    def ready() -> bool:
        node = api.store.find("nodes", "node") or {"status": {}}
        conditions = node["status"].get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    await api.until(ready, seconds=60)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_pod_runs_and_a_signal_ends_both(
    api: ApiServer, start: Start, number: signal.Signals, workers: int
) -> None:
    async with start(PROVIDER_TOKEN="secret-token", WORKERS=str(workers)) as up:
        await is_ready(api)
        api.store.create("pods", a_pod("web", nodeName="node"))
        await api.until(lambda: api.store.get("pods", "web", "default")["status"]["phase"] == "Running")
        children = up.children()
        assert len(children) == (2 if workers > 1 else 0)
        up.signal(number)
        assert await up.ended() == 0
    assert not any(is_alive(pid) for pid in children)
    lines = [json.loads(line) for line in up.log.read_text().splitlines() if line.startswith("{")]
    assert {line["part"] for line in lines} == {"provider", "broker"}
    assert [line["part"] for line in lines if line["event"] in ("stopped", "Shutting down: Master")] == [
        "broker",
        "provider",
    ]
    assert "provider | the database is at " in up.log.read_text()


@pytest.mark.parametrize("part", [0, 1])
async def test_the_end_of_one_process_ends_the_other(api: ApiServer, start: Start, part: int) -> None:
    async with start(WORKERS="2") as up:
        await is_ready(api)
        children = up.children()
        os.kill(children[part], signal.SIGKILL)
        assert await up.ended() == 128 + signal.SIGKILL
    assert await eventually(lambda: not any(is_alive(pid) for pid in children))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_no_process_has_libraries_of_others(api: ApiServer, start: Start) -> None:
    async with start(WORKERS="2") as up:
        await is_ready(api)
        command, provider, broker = (
            Path(f"/proc/{pid}/maps").read_text() for pid in (up.process.pid, *up.children())
        )
    assert "pydantic_core" not in command
    assert "psycopg" not in provider
    assert "cryptography" not in broker


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
async def test_parts_end_when_the_command_is_killed(api: ApiServer, start: Start) -> None:
    async with start(WORKERS="2") as up:
        await is_ready(api)
        children = up.children()
        workers = [pid for child in children for pid in children_of(child)]
        assert (len(children), len(workers)) == (2, 2)
        up.signal(signal.SIGKILL)
        await up.ended()
        assert await eventually(lambda: not any(is_alive(pid) for pid in [*children, *workers]), seconds=40)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_broker_that_cannot_start_ends_the_provider(start: Start, workers: str) -> None:
    async with start(KUBECONFIG="/no/such/file", WORKERS=workers) as up:
        assert await up.ended() == 2
    assert "kubeconfig /no/such/file" in up.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_provider_that_cannot_start_is_alone(api: ApiServer, start: Start, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with start(PORT=str(taken.getsockname()[1]), WORKERS=workers) as up:
            assert await up.ended() == 1
    assert not api.requests


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_signal_before_the_provider_is_ready(start: Start, tmp_path: Path, workers: str) -> None:
    os.mkfifo(tmp_path / "provider.db")  # opening it blocks
    async with start(DATABASE_URL=f"sqlite:///{tmp_path}/provider.db", WORKERS=workers) as up:
        await eventually(up.children)
        up.signal(signal.SIGINT)
        assert await up.ended() in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("signals", [[signal.SIGHUP] * 2, [signal.SIGTERM, signal.SIGHUP]])
async def test_a_hangup_does_not_interrupt_the_stop(
    api: ApiServer, start: Start, signals: list[signal.Signals], workers: str
) -> None:
    async with start(WORKERS=workers) as up:
        await is_ready(api)
        for number in signals:
            up.signal(number)
            await asyncio.sleep(0.02)
        assert await up.ended() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
async def test_a_full_disk_stops_nothing(api: ApiServer, start: Start, workers: str) -> None:
    async with start(log=Path("/dev/full"), WORKERS=workers) as up:
        await is_ready(api)
        up.signal(signal.SIGTERM)
        assert await up.ended() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_standard_error_may_be_closed(tmp_path: Path, workers: str) -> None:
    command = f"exec {sys.executable} {ROOT / 'vkweb'} up 2>&-"
    given = {"KUBECONFIG": "/no/such/file", "PORT": str(free_port()), "WORKERS": workers}
    process = await asyncio.create_subprocess_shell(command, cwd=tmp_path, env={**CLEAN, **given})
    async with asyncio.timeout(60):
        assert await process.wait() == 2


async def test_a_worker_that_ends_by_itself_ends_the_broker(start: Start) -> None:
    async with start(GUNICORN_CMD_ARGS="--max-requests=3") as up:
        assert await up.ended() == 1
    assert "the provider has ended" in up.log.read_text()


@pytest.mark.parametrize(("workers", "variable"), [("1", "NO"), ("1", "PROMETHEUS_MULTIPROC_DIR"), ("2", "NO")])
async def test_the_metrics_of_the_provider_are_its_own(
    api: ApiServer, start: Start, tmp_path: Path, workers: str, variable: str
) -> None:
    port = free_port()
    async with start(PORT=str(port), WORKERS=workers, **{variable: str(tmp_path)}):
        await is_ready(api)
        with closing(Client(port)) as client:
            text = client.get("/metrics").body.decode()
    assert 'provider_http_request_duration_seconds_count{code="200",path="/capacity"}' in text
    assert "kubernetes_request" not in text


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_terminal_that_closes_ends_a_fleet(
    api: ApiServer, start: Start, tmp_path: Path, workers: str
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("pools:\n- {name: pool, count: 1}\n")
    async with start(FLEET=str(fleet), WORKERS=workers) as up:
        await api.until(lambda: api.store.find("nodes", "pool-0") is not None, seconds=60)
        up.signal(signal.SIGHUP)
        assert await up.ended() == 0
