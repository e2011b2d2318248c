"""Objects of a benchmark in a cluster, pods in a namespace of their own, with the times of their changes."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle

from benchmarks.load import BenchmarkError, log
from broker.kubernetes.client import Client
from broker.kubernetes.errors import Forbidden
from broker.kubernetes.watch import list_and_watch
from broker.types import Object

_STALLED_AFTER = 300.0
_CONNECTIONS = 30


@dataclass
class Seen:
    """Times at which the watch reported each pod or node as ready or deleted, and the message of a failed pod."""

    ready: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    failure: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self, client: Client, path: str) -> None:
        """Watch pods or nodes and record their states."""
        events = list_and_watch(client, path, clock=lambda: datetime.now(UTC), random=random.Random())
        async for type_, obj in events:
            if obj is not None:
                self.record(type_, obj.decode(), time.monotonic())

    def record(self, type_: str, obj: Object, now: float) -> None:
        """Record the first report of each state of a pod or node."""
        name = obj["metadata"]["name"]
        if type_ == "DELETED":
            self.gone.setdefault(name, now)
        elif _is_ready(obj):
            self.ready.setdefault(name, now)
        elif (status := obj.get("status") or {}).get("phase") == "Failed":
            self.failure = f"{name}: {status.get('reason')}: {status.get('message')}"
        self.changed.set()

    async def wait(self, seen: dict[str, float], names: Iterable[str]) -> None:
        """Wait until all of these are in one of the two dicts."""
        missing = set(names)
        try:
            while missing := missing - seen.keys():
                if seen is self.ready and self.failure:
                    raise BenchmarkError(self.failure)
                self.changed.clear()
                async with asyncio.timeout(_STALLED_AFTER):
                    await self.changed.wait()
        except TimeoutError:
            raise BenchmarkError(
                f"{len(missing)} objects did not reach the expected state; no changes for {_STALLED_AFTER:.0f} s"
            ) from None


class Bench:
    """Namespace for the pods of this run, which are created on the nodes in turn."""

    def __init__(self, client: Client, nodes: Sequence[str]) -> None:
        self.client = client
        self._nodes = cycle(nodes)
        self.namespace = f"benchmark-{secrets.token_hex(4)}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.seen = Seen()
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    async def create(self, name: str) -> float:
        """Create a pod on the next node; return the time at which the request was sent."""
        container = {"name": "main", "image": "nginx:1.27", "resources": {"requests": {"cpu": "1m"}}}
        spec = {"nodeName": next(self._nodes), "automountServiceAccountToken": False, "containers": [container]}
        async with self._connections:
            began = time.monotonic()
            await self.client.create(self.pods, {"metadata": {"name": name}, "spec": spec})
            return began

    async def delete(self, name: str) -> float:
        """Delete a pod as `kubectl delete` does; return the time at which the request was sent."""
        async with self._connections:
            began = time.monotonic()
            await self.client.delete(f"{self.pods}/{name}")
            return began

    async def open(self) -> None:
        """Create the namespace and wait until a pod in it is ready."""
        await self.client.create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.create("first")
                except Forbidden:  # the namespace has no service account yet
                    await asyncio.sleep(0.1)
                else:
                    break
        await self.seen.wait(self.seen.ready, ["first"])


@asynccontextmanager
async def bench(client: Client, nodes: Sequence[str]) -> AsyncIterator[Bench]:
    """Create the namespace; delete it at the end of the block."""
    made = Bench(client, nodes)
    watching = asyncio.create_task(made.seen.watch(client, made.pods))
    try:
        await made.open()
        yield made
    finally:
        watching.cancel()
        await client.delete(f"/api/v1/namespaces/{made.namespace}")
        log(f"the namespace {made.namespace} is being deleted")


def _is_ready(obj: Object) -> bool:
    """Return whether a pod runs and is ready, or a node is ready; a node may be without a phase."""
    status = obj.get("status") or {}
    conditions = status.get("conditions") or []
    return status.get("phase", "Running") == "Running" and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )
