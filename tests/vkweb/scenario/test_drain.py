"""A drain: which pods are evicted, and what a PodDisruptionBudget delays, with the fake API server."""

import asyncio
from typing import Any

import pytest

from broker.kubernetes.client import Client
from tests.broker.apiserver import ApiServer
from tests.pods import a_pod
from vkweb.scenario import drain as module
from vkweb.scenario.drain import drain


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry and poll at once."""
    monkeypatch.setattr(module, "RETRY", 0.01)
    monkeypatch.setattr(module, "_POLL", 0.01)


def create(api: ApiServer, name: str, *, node: str = "spot-0", owner: str = "", **metadata: Any) -> None:
    metadata = {"labels": {}, **metadata}
    pod = a_pod(name, metadata=metadata, terminationGracePeriodSeconds=0, nodeName=node)
    pod["metadata"].pop("uid", None)
    if owner:
        pod["metadata"]["ownerReferences"] = [{"kind": owner, "name": "o", "uid": "o", "controller": True}]
    created = api.store.create("pods", pod)
    api.store.update(
        "pods", {**created, "status": {**created["status"], "phase": "Running"}}, subresource="status"
    )


def budget(api: ApiServer, allowed: int) -> None:
    body = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": allowed},
    }
    api.store.create("poddisruptionbudgets", body)


def names(api: ApiServer) -> list[str]:
    return [pod["metadata"]["name"] for pod in api.store.list("pods")]


async def test_pods_of_daemonsets_and_other_nodes_stay(api: ApiServer, client: Client) -> None:
    create(api, "web", owner="ReplicaSet")
    create(api, "bare")
    create(api, "agent", owner="DaemonSet")
    create(api, "mirror", annotations={"kubernetes.io/config.mirror": "x"})
    create(api, "other", node="spot-1")
    assert await drain(client, "spot-0", grace_period=None, timeout=30) == (2, {})
    assert names(api) == ["agent", "mirror", "other"]


async def test_an_eviction_waits_for_the_budget(api: ApiServer, client: Client) -> None:
    for index in range(3):
        create(api, f"web-{index}", labels={"app": "web"})
    budget(api, 1)
    task = asyncio.create_task(drain(client, "spot-0", grace_period=None, timeout=30))
    await api.until(lambda: len(names(api)) == 2 and len(api.requests_to("POST", "/eviction$")) > 6)
    found = api.store.get("poddisruptionbudgets", "web", "default")
    found["status"]["disruptionsAllowed"] = 2
    api.store.update("poddisruptionbudgets", found)
    assert await task == (3, {})


async def test_pods_left_after_the_timeout_are_named(api: ApiServer, client: Client) -> None:
    create(api, "web", labels={"app": "web"})
    create(api, "free")
    budget(api, 0)
    evicted, left = await drain(client, "spot-0", grace_period=None, timeout=2)
    assert evicted == 1
    assert left == {"default/web": "Cannot evict pod as it would violate the pod's disruption budget."}


async def test_a_pod_that_is_replaced_counts_as_evicted(api: ApiServer, client: Client) -> None:
    create(api, "db-0")
    with api.failing(404, reason="NotFound", path="/eviction$"):
        task = asyncio.create_task(drain(client, "spot-0", grace_period=3, timeout=30))
        await api.until(lambda: api.requests_to("POST", "/eviction$"))
    (request,) = api.requests_to("POST", "/eviction$")
    old = api.store.get("pods", "db-0", "default")
    assert request.body["deleteOptions"] == {
        "gracePeriodSeconds": 3,
        "preconditions": {"uid": old["metadata"]["uid"]},
    }
    api.store.delete("pods", "db-0", "default")
    create(api, "db-0")
    assert (await task).left == {}
