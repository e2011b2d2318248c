"""Objects that are read once and watched while a pod needs them."""

from collections.abc import AsyncIterator

import pytest

from broker.kubernetes.client import Client
from broker.node_info import NodeInfo
from broker.pods.env import Unreadable
from broker.pods.object_cache import ObjectCache, ObjectId, Reader
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of
from tests.broker.pods.conftest import Object
from tests.broker.waiting import eventually

CONFIG = ObjectId("ConfigMap", "default", "config")
CONFIG_MAP: Object = {"metadata": {"name": "config", "namespace": "default"}, "data": {"a": "1"}}


@pytest.fixture
def changed() -> list[str]:
    """The pods whose objects have changed."""
    return []


@pytest.fixture
async def cache(client: Client, info: NodeInfo, changed: list[str]) -> AsyncIterator[ObjectCache]:
    """A cache without patience: an object without readers is not watched."""
    async with ObjectCache(dependencies_of(client, info), on_change=changed.append, linger=0) as cache:
        yield cache


def a_reader(name: str = "web-0") -> Reader:
    return Reader(f"default/{name}", "volumes")


def reads(api: ApiServer) -> list[str]:
    return [request.query.get("fieldSelector", "") for request in api.requests_to("GET", "/configmaps")]


async def test_many_readers_share_one_watch(api: ApiServer, cache: ObjectCache, changed: list[str]) -> None:
    api.store.create("configmaps", CONFIG_MAP)
    for number in range(200):
        found = await cache.read(a_reader(f"web-{number}"), [CONFIG])
        assert isinstance(found[CONFIG], dict)
    await api.until(lambda: api.watchers)
    assert reads(api) == ["metadata.name=config"] * 2  # a list and a watch
    api.store.update("configmaps", {**CONFIG_MAP, "data": {"a": "2"}})
    await eventually(lambda: len(changed) == 200)
    latest = (await cache.read(a_reader(), [CONFIG]))[CONFIG]
    assert isinstance(latest, dict)
    assert latest["data"] == {"a": "2"}
    assert len(reads(api)) == 2


async def test_a_watch_ends_with_its_last_reader(api: ApiServer, cache: ObjectCache) -> None:
    api.store.create("configmaps", CONFIG_MAP)
    for name in ("web-0", "web-1"):
        await cache.read(a_reader(name), [CONFIG])
    cache.release(a_reader("web-0"))
    await cache.read(a_reader("web-2"), [CONFIG])
    await api.until(lambda: api.watchers)
    cache.release(a_reader("web-1"))
    await cache.read(a_reader("web-2"), [])
    await api.until(lambda: not api.watchers)
    assert len(cache) == 0


async def test_an_immutable_object_is_not_watched(api: ApiServer, cache: ObjectCache) -> None:
    api.store.create("configmaps", {**CONFIG_MAP, "immutable": True})
    await cache.read(a_reader(), [CONFIG])
    await cache.read(a_reader("web-1"), [CONFIG])
    assert reads(api) == ["metadata.name=config"]
    assert not api.watchers


async def test_readers_hear_of_creation_and_deletion(
    api: ApiServer, cache: ObjectCache, changed: list[str]
) -> None:
    assert await cache.read(a_reader(), [CONFIG]) == {CONFIG: None}
    await api.until(lambda: api.watchers)
    api.store.create("configmaps", CONFIG_MAP)
    await eventually(lambda: changed == ["default/web-0"])
    assert (await cache.read(a_reader(), [CONFIG]))[CONFIG]
    api.store.delete("configmaps", "config", "default")
    await eventually(lambda: len(changed) == 2)
    assert await cache.read(a_reader(), [CONFIG]) == {CONFIG: None}


async def test_a_failed_read_is_repeated(api: ApiServer, cache: ObjectCache, changed: list[str]) -> None:
    api.store.create("configmaps", CONFIG_MAP)
    with api.failing(403, reason="Forbidden", path="/configmaps"):
        assert await cache.read(a_reader(), [CONFIG]) == {CONFIG: Unreadable("Forbidden")}
    await eventually(lambda: changed)
    assert isinstance((await cache.read(a_reader(), [CONFIG]))[CONFIG], dict)


async def test_a_known_object_outlasts_an_outage(api: ApiServer, cache: ObjectCache, changed: list[str]) -> None:
    api.store.create("configmaps", CONFIG_MAP)
    await cache.read(a_reader(), [CONFIG])
    await api.until(lambda: api.watchers)
    await api.stop()
    assert isinstance((await cache.read(a_reader("web-1"), [CONFIG]))[CONFIG], dict)
    api.store.update("configmaps", {**CONFIG_MAP, "data": {"a": "2"}})
    await api.start()
    await eventually(lambda: len(changed) == 2)


async def test_a_name_cannot_select_other_objects(api: ApiServer, cache: ObjectCache) -> None:
    odd = ObjectId("ConfigMap", "default", "a,metadata.name!=b")
    await cache.read(a_reader(), [odd, ObjectId("ConfigMap", "default", "")])
    assert reads(api)[0] == r"metadata.name=a\,metadata.name!\=b"
    assert len(cache) == 1
