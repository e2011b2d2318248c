"""A part of a cluster, fake or real, for one test: a namespace and a node, accessed through the API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.kubernetes.errors import ApiError, Forbidden, NotFound
from broker.types import Object
from tests.pods import a_container

T = TypeVar("T")

REAL = pytest.mark.parametrize("config", [pytest.param("real", marks=pytest.mark.cluster)], indirect=True)
"""Marks a test that needs a real cluster."""


class Corner:
    """The actions of a test in a cluster.

    Attributes:
        config: connection settings.
        client: for all other requests.
        namespace: the namespace of this test.
        node: the name of this test's node.
    """

    def __init__(self, config: ClusterConfig, client: Client) -> None:
        self.config = config
        self.client = client
        self.namespace = self.node = f"vk-test-{uuid4().hex[:8]}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.node_path = f"/api/v1/nodes/{self.node}"
        self.lease_path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self.node}"

    async def create_pod(self, name: str, *, container: Object | None = None, **spec: Any) -> Object:
        """Create a pod that is bound to the node."""
        pod = {
            "metadata": {"name": name},
            "spec": {
                "nodeName": self.node,
                "automountServiceAccountToken": False,
                "containers": [a_container(**(container or {}))],
                **spec,
            },
        }

        async def created() -> Object | None:
            try:
                return await self.client.create(self.pods, pod)
            except Forbidden:  # the service account of a new namespace is created later
                return None

        return await self.until(created)

    async def delete_pod(self, name: str, **options: Any) -> None:
        """Delete a pod; do not wait for its end."""
        await self.client.delete(f"{self.pods}/{name}", options or None)

    async def read(self, path: str) -> Object | None:
        """Read an object that may not be there."""
        try:
            return await self.client.get(path)
        except NotFound:
            return None

    async def ready(self, path: str) -> Object:
        """Wait until a pod, or the node, is ready."""
        return await self.until(lambda: self._in_condition(path, "True"))

    async def not_ready(self, path: str) -> Object:
        """Wait until a pod, or the node, exists and is not ready."""
        return await self.until(lambda: self._in_condition(path, "False"))

    async def gone(self, path: str) -> None:
        """Wait until an object does not exist."""

        async def is_gone() -> bool:
            return await self.read(path) is None

        await self.until(is_gone)

    async def event(self, reason: str) -> Object:
        """Wait for an event in the namespace."""

        async def found() -> Object | None:
            events, _ = await self.client.list(f"/api/v1/namespaces/{self.namespace}/events")
            decoded = (event.decode() for event in events)
            return next((event for event in decoded if event["reason"] == reason), None)

        return await self.until(found)

    async def until(self, condition: Callable[[], Awaitable[T | None]], *, seconds: float = 60) -> T:
        """Wait until the result is true; return it."""
        try:
            async with asyncio.timeout(seconds):
                while not (answer := await condition()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}") from None
        return answer

    async def _in_condition(self, path: str, status: str) -> Object | None:
        obj = await self.read(path)
        conditions = (obj or {}).get("status", {}).get("conditions") or []
        there = any(c["type"] == "Ready" and c["status"] == status for c in conditions)
        return obj if there else None


@asynccontextmanager
async def corner_of(config: ClusterConfig) -> AsyncIterator[Corner]:
    """Yield a part of a cluster; delete its objects at the end."""
    client = Client(config)
    corner = Corner(config, client)
    try:
        await client.create("/api/v1/namespaces", {"metadata": {"name": corner.namespace}})
        yield corner
    finally:
        for pod in (await client.list(corner.pods))[0]:
            with suppress(ApiError):
                await corner.delete_pod(pod.metadata.name, gracePeriodSeconds=0)
        for path in (f"/api/v1/namespaces/{corner.namespace}", corner.node_path, corner.lease_path):
            with suppress(NotFound):
                await client.delete(path)
        await client.close()
