"""The watch: after any failure, the events lead to the objects of the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from broker.kubernetes import watch
from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.errors import Unreachable
from broker.kubernetes.objects import RawObject
from broker.kubernetes.watch import Event, list_and_watch
from tests.broker.apiserver import ApiServer
from tests.pods import a_pod

NOW = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the delays of the back-off."""
    monkeypatch.setattr(watch, "_BACKOFF", 0.001)


class Listener:
    """Records events and the objects that result from them."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.events: list[str] = []
        self.there: dict[str, str] = {}
        self.synced: list[datetime] = []
        self._heard = asyncio.Event()

    def hear(self, event: Event) -> None:
        if event.object is None:
            self.events.append("SYNCED")
        else:
            metadata = event.object.metadata
            self.events.append(f"{event.type} {metadata.name}")
            if event.type == "DELETED":
                del self.there[event.object.key]
            else:
                assert (event.object.key in self.there) == (event.type == "MODIFIED")
                self.there[event.object.key] = metadata.resource_version
        self._heard.set()

    def sync(self, now: datetime) -> None:
        self.synced.append(now)
        self._heard.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._heard.clear()
                await self._heard.wait()

    async def catches_up(self) -> None:
        """Wait until the objects are those of the server on the node."""
        pods = self.api.store.list("pods")
        actual = {
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod["metadata"]["resourceVersion"]
            for pod in pods
            if pod["spec"].get("nodeName") == "node"
        }
        await self.wait_until(lambda: self.there == actual)


@asynccontextmanager
async def listening(api: ApiServer, client: Client) -> AsyncIterator[Listener]:
    listener = Listener(api)

    async def listen() -> None:
        events = list_and_watch(
            client,
            "/api/v1/pods",
            field_selector="spec.nodeName=node",
            clock=lambda: NOW,
            random=Random(1),
            on_sync=listener.sync,
        )
        async for event in events:
            listener.hear(event)

    task = asyncio.create_task(listen())
    try:
        yield listener
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def create(api: ApiServer, name: str, node: str = "node") -> dict[str, Any]:
    return api.store.create("pods", a_pod(name, nodeName=node))


def change(api: ApiServer, name: str) -> None:
    pod = api.store.get("pods", name, "default")
    pod["metadata"]["labels"] = {"seen": pod["metadata"]["resourceVersion"]}
    api.store.update("pods", pod)


def delete(api: ApiServer, name: str) -> None:
    api.store.delete("pods", name, "default", {"gracePeriodSeconds": 0})


async def a_watch_is_open(api: ApiServer) -> None:
    await api.until(lambda: api.watchers)


async def test_existing_objects_are_followed_by_each_change(api: ApiServer, client: Client) -> None:
    create(api, "a")
    create(api, "of-another-node", "other")
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        create(api, "b")
        change(api, "a")
        delete(api, "b")
        await listener.wait_until(lambda: len(listener.events) == 5)
    assert listener.events == ["ADDED a", "SYNCED", "ADDED b", "MODIFIED a", "DELETED b"]
    assert set(listener.synced) == {NOW}


async def test_a_quiet_watch_is_in_sync(api: ApiServer, client: Client) -> None:
    async with listening(api, client) as listener:
        await listener.wait_until(lambda: len(listener.synced) == 2)
        assert listener.events == ["SYNCED"], "once for the list, once for the watch, and nothing has happened"


async def test_a_watch_requests_bookmarks_and_a_timeout(api: ApiServer, client: Client) -> None:
    async with listening(api, client):
        await a_watch_is_open(api)
    query = api.requests_to("GET")[-1].query
    assert query["allowWatchBookmarks"] == "true"
    assert 300 <= int(query["timeoutSeconds"]) <= 600


async def test_a_watch_resumes_from_the_last_event(api: ApiServer, client: Client) -> None:
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        create(api, "a")
        await listener.catches_up()
        api.end_watches()
        await api.until(lambda: len(api.requests_to("GET")) == 3 and api.watchers)
        create(api, "b")
        await listener.catches_up()
    assert listener.events == ["SYNCED", "ADDED a", "ADDED b"]


async def test_a_watch_resumes_from_the_last_bookmark(api: ApiServer, client: Client) -> None:
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        create(api, "of-another-node", "other")
        version = str(api.store.version)
        events = len(listener.synced)
        api.bookmark()
        await listener.wait_until(lambda: len(listener.synced) > events)
        api.end_watches()
        await api.until(lambda: len(api.requests_to("GET")) == 3 and api.watchers)
        assert api.requests_to("GET")[-1].query["resourceVersion"] == version
    assert listener.events == ["SYNCED"]


async def test_a_truncated_line_is_read_again(api: ApiServer, client: Client) -> None:
    create(api, "a")
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        api.cut_watches()
        change(api, "a")
        await listener.catches_up()
        await a_watch_is_open(api)
    assert listener.events == ["ADDED a", "SYNCED", "MODIFIED a"]


async def test_changes_during_a_server_restart_are_reported(api: ApiServer, client: Client) -> None:
    create(api, "a")
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        await api.stop()
        create(api, "b")
        delete(api, "a")
        await api.start()
        await listener.catches_up()
    assert sorted(listener.events) == ["ADDED a", "ADDED b", "DELETED a", "SYNCED"]


async def test_an_expired_version_causes_a_new_list(api: ApiServer, client: Client) -> None:
    for name in ("changed", "deleted", "same"):
        create(api, name)
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        with api.failing(500, method="GET"):
            api.cut_watches()
            await api.until(lambda: not api.watchers)
            change(api, "changed")
            delete(api, "deleted")
            create(api, "new")
            api.store.compact()
        await listener.catches_up()
    events = listener.events[4:]
    assert events[:3] == ["DELETED deleted", "MODIFIED changed", "ADDED new"]
    assert events[3:] == ["SYNCED"]


async def test_an_expired_watch_causes_a_new_list(api: ApiServer, client: Client) -> None:
    create(api, "a")
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        api.expire_watches()
        await listener.wait_until(lambda: listener.events.count("SYNCED") == 2)
        create(api, "b")
        await listener.catches_up()
    assert listener.events == ["ADDED a", "SYNCED", "SYNCED", "ADDED b"]


async def test_a_replaced_object_is_deleted_and_added(api: ApiServer, client: Client) -> None:
    old = create(api, "a")
    async with listening(api, client) as listener:
        await a_watch_is_open(api)
        with api.failing(500, method="GET"):
            api.cut_watches()
            await api.until(lambda: not api.watchers)
            delete(api, "a")
            new = create(api, "a")
            api.store.compact()
        await listener.catches_up()
    assert old["metadata"]["uid"] != new["metadata"]["uid"]
    assert listener.events[2:] == ["DELETED a", "ADDED a", "SYNCED"]


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
async def test_an_error_response_is_retried(api: ApiServer, client: Client, code: int) -> None:
    create(api, "a")
    with api.failing(code, times=4) as fault:
        async with listening(api, client) as listener:
            await listener.catches_up()
    assert fault.met == 4


async def test_retry_after_of_the_server_is_observed(
    api: ApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: _note(waits, seconds))
    with api.failing(429, times=1, retry_after=7):
        async with listening(api, client) as listener:
            await listener.wait_until(lambda: bool(listener.events))
    assert waits == [7]


async def test_retry_delays_increase_up_to_30_seconds(
    api: ApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(watch, "_BACKOFF", 0.8)
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: _note(waits, seconds))
    with api.failing(500, times=9):
        async with listening(api, client) as listener:
            await listener.wait_until(lambda: bool(listener.events))
    for wait, base in zip(waits, [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30], strict=True):
        assert base / 2 <= wait <= base


async def _note(waits: list[float], seconds: float) -> None:
    waits.append(seconds)


class Failing(Client):
    """A client whose lists fail a number of times, then block."""

    def __init__(self, config: ClusterConfig, *, failures: int) -> None:
        super().__init__(config)
        self.failures = failures
        self.exhausted = asyncio.Event()

    async def list(self, path: str, **query: str) -> tuple[list[RawObject], str]:
        if self.failures:
            self.failures -= 1
            raise Unreachable(path)
        self.exhausted.set()
        await asyncio.get_running_loop().create_future()
        return [], ""


async def test_2000_failures_keep_the_longest_delay(
    cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: _note(waits, seconds))
    client = Failing(cluster, failures=2000)
    events = list_and_watch(client, "/api/v1/pods", clock=lambda: NOW, random=Random(1))
    task = asyncio.ensure_future(anext(events))
    await client.exhausted.wait()
    task.cancel()
    assert len(waits) == 2000
    assert all(15 <= wait <= 30 for wait in waits[100:])
