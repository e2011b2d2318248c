"""The CA of clients that the cluster publishes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from broker.kubelet.client_ca import ClientCA
from broker.kubernetes.client import Client
from tests.broker.apiserver import ApiServer

NAME = "extension-apiserver-authentication"


@pytest.fixture(autouse=True)
def _read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientCA, "INTERVAL", 0.005)


@asynccontextmanager
async def watching(authority: ClientCA, changed: Callable[[], None]) -> AsyncIterator[None]:
    task = asyncio.create_task(authority.watch(changed))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def published(pem: str) -> dict[str, object]:
    return {"metadata": {"name": NAME, "namespace": "kube-system"}, "data": {"client-ca-file": pem}}


async def test_the_callback_runs_after_each_read(api: ApiServer, client: Client) -> None:
    authority = ClientCA(client)
    received: asyncio.Queue[bytes] = asyncio.Queue()
    api.store.create("configmaps", published("one"))
    async with watching(authority, lambda: received.put_nowait(authority.pem)), asyncio.timeout(30):
        assert await received.get() == b"one"
        api.store.update("configmaps", published("two"))
        while await received.get() != b"two":
            pass


async def test_a_failed_read_keeps_the_last_ca(api: ApiServer, client: Client) -> None:
    authority = ClientCA(client)
    api.store.create("configmaps", published("one"))
    changed = asyncio.Event()
    async with watching(authority, changed.set):
        await asyncio.wait_for(changed.wait(), 30)
        with api.failing(500, path=NAME) as fault:
            await api.until(lambda: fault.met > 1)
            assert authority.pem == b"one"


async def test_a_forbidden_read_is_logged_once(api: ApiServer, client: Client) -> None:
    authority = ClientCA(client)
    with api.failing(403, reason="Forbidden", path=NAME) as fault, capture_logs() as logs:
        async with watching(authority, lambda: None):
            await api.until(lambda: fault.met > 2)
    assert [(entry["log_level"], entry["error"]) for entry in logs] == [("warning", "injected (403 Forbidden)")]
    assert authority.pem == b""
