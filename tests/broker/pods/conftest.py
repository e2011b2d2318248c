"""Fixtures: a pod controller between the fake API server and a stub provider."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from broker.kubernetes.client import Client
from broker.node_info import NodeInfo
from broker.pods.controller import PodController
from broker.pods.eviction import UsageReader
from broker.pods.store import PodStore
from broker.provider import ProviderClient
from broker.settings import Settings
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of
from tests.pods import a_container
from tests.stub_provider import StubProvider

NODE = "web"
Object = dict[str, Any]


@pytest.fixture
def info() -> NodeInfo:
    """A registered node."""
    return NodeInfo(
        NODE,
        uid="node-uid",
        labels={"type": "virtual-kubelet", "kubernetes.io/os": "linux"},
        allocatable={"cpu": "20", "memory": "100Gi", "pods": "1000"},
        addresses=[{"type": "InternalIP", "address": "192.0.2.1"}],
        ready=True,
        holds_lease=True,
    )


Controlling = Callable[..., AbstractAsyncContextManager[PodController]]


@pytest.fixture
def controlling(client: Client, info: NodeInfo) -> Controlling:
    """Run a controller for the duration of the block, optionally with other settings."""

    @asynccontextmanager
    async def run(
        stub: StubProvider, *, usage: UsageReader | None = None, **options: Any
    ) -> AsyncIterator[PodController]:
        given = {"node_name": info.name, "status_interval": 0.1, "provider_timeout": 30, **options}
        settings = Settings.model_validate({"web_endpoint_url": stub.url, **given})
        provider = ProviderClient(settings.web_endpoint_url, timeout=settings.provider_timeout)
        dependencies = dependencies_of(client, info, provider=provider, settings=settings)
        controller = PodController(dependencies, store=PodStore())
        task = asyncio.create_task(controller.run(), name="pods")
        evicting = asyncio.create_task(controller.evict(info.name, usage), name="evict") if usage else None
        try:
            yield controller
        finally:
            controller.stop()
            await asyncio.wait_for(task, 30)
            if evicting:
                evicting.cancel()
            await provider.close()

    return run


def bound(
    name: str = "web-0", *, namespace: str = "default", metadata: Object | None = None, **spec: Any
) -> Object:
    """Return a pod that is bound to the node."""
    spec.setdefault("containers", [a_container()])
    return {
        "metadata": {"name": name, "namespace": namespace, **(metadata or {})},
        "spec": {"nodeName": NODE, **spec},
    }


def stored(api: ApiServer, name: str = "web-0") -> Object:
    """Return a pod as Kubernetes has it."""
    return api.store.get("pods", name, "default")


def status(api: ApiServer, name: str = "web-0") -> Object:
    """Return the status of a pod."""
    found: Object = stored(api, name)["status"]
    return found


def phase(api: ApiServer, name: str = "web-0", namespace: str = "default") -> str | None:
    """Return the phase of a pod; None if it has none."""
    pod = api.store.find("pods", name, namespace)
    return pod["status"]["phase"] if pod else None


async def run(api: ApiServer, pod: Object) -> None:
    """Create a pod, and wait until it runs."""
    metadata = api.store.create("pods", pod)["metadata"]
    await api.until(lambda: phase(api, metadata["name"], metadata["namespace"]) == "Running")


def container_status(api: ApiServer, container: str, name: str = "web-0") -> Object:
    """Return the status of a container; empty before it is written."""
    pod = api.store.find("pods", name, "default") or {"status": {}}
    statuses = [
        s for field in ("initContainerStatuses", "containerStatuses") for s in pod["status"].get(field) or ()
    ]
    return next((status for status in statuses if status["name"] == container), {})


def condition(api: ApiServer, type_: str, name: str = "web-0") -> Object | None:
    """Return a condition of a pod."""
    pod = api.store.find("pods", name, "default") or {"status": {}}
    return next((c for c in pod["status"].get("conditions") or () if c["type"] == type_), None)


def events(api: ApiServer, reason: str) -> list[Object]:
    """Return the events with a reason."""
    return [event for event in api.store.list("events") if event["reason"] == reason]
