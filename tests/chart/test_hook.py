"""The program of `helm test`, on the fake API server."""

import asyncio
import sys
from pathlib import Path

from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority
from tests.broker.kubeconfig import write_kubeconfig
from tests.chart.chart import render
from tests.server import CLEAN, ROOT


async def run(api: ApiServer, authority: Authority, folder: Path, *, attempts: int = 600) -> tuple[int, str]:
    """Run the container of the hook; return its exit status and output."""
    (container,) = render({"node": {"name": "edge"}}).one("Pod")["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", *container["args"]],
        cwd=ROOT,
        env={
            **CLEAN,
            "KUBECONFIG": str(write_kubeconfig(folder / "kubeconfig", api, authority)),
            "ATTEMPTS": str(attempts),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def put_node(api: ApiServer, status: str) -> None:
    """Create a Node with the condition Ready."""
    condition = {"type": "Ready", "status": status, "reason": "ProviderFailed", "message": "it does not answer"}
    api.store.create("nodes", {"metadata": {"name": "edge"}, "status": {"conditions": [condition]}}, "")


async def test_a_ready_node_passes(api: ApiServer, authority: Authority, tmp_path: Path) -> None:
    put_node(api, "True")
    assert await run(api, authority, tmp_path) == (0, "node edge: Ready\n")


async def test_it_waits_for_the_node(api: ApiServer, authority: Authority, tmp_path: Path) -> None:
    running = asyncio.create_task(run(api, authority, tmp_path))
    await api.until(lambda: api.requests_to("GET", "/nodes/edge"))
    put_node(api, "True")
    assert await running == (0, "node edge: Ready\n")


async def test_it_prints_why_a_node_is_not_ready(api: ApiServer, authority: Authority, tmp_path: Path) -> None:
    put_node(api, "False")
    message = "node edge: ProviderFailed: it does not answer\n"
    assert await run(api, authority, tmp_path, attempts=1) == (1, message)


async def test_it_prints_that_a_node_is_missing(api: ApiServer, authority: Authority, tmp_path: Path) -> None:
    code, message = await run(api, authority, tmp_path, attempts=1)
    assert (code, "404" in message) == (1, True)
