"""Measure a node of Kubernetes: how fast pods that are bound to it become ready, and what that takes.

Works with any node, of this project or another. Pods are made in a namespace of this run's own, which is deleted
at the end, also after Ctrl-C. Times are those of a client of the API server: from sending the create until the
watch tells that the pod is Running and Ready; from sending the delete until the watch tells that it is gone.
"""

import argparse
import asyncio
import functools
import os
import random
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from broker.errors import ConfigurationError
from broker.kubernetes.client import Client
from broker.kubernetes.config import load
from broker.kubernetes.errors import ApiError, Forbidden
from broker.kubernetes.objects import Object
from broker.kubernetes.watch import list_and_watch

TICKS = os.sysconf("SC_CLK_TCK")
STALLED_AFTER = 300.0
CONNECTIONS = 30
say = functools.partial(print, file=sys.stderr, flush=True)


class BenchmarkError(Exception):
    """The run cannot measure what its table would claim."""


@dataclass
class Seen:
    """What the watch has told of the pods: when each was ready, when each was gone, why one has failed."""

    ready: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    failure: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, type_: str, pod: Object, now: float) -> None:
        """Note a change, the first time that it is told."""
        name = pod["metadata"]["name"]
        if type_ == "DELETED":
            self.gone.setdefault(name, now)
        elif _is_ready(pod):
            self.ready.setdefault(name, now)
        elif (status := pod.get("status") or {}).get("phase") == "Failed":
            self.failure = f"{name}: {status.get('reason')}: {status.get('message')}"
        self.changed.set()

    async def wait(self, seen: dict[str, float], names: Iterable[str]) -> None:
        """Wait until all of these are in one of the two."""
        missing = set(names)
        try:
            while missing := missing - seen.keys():
                if seen is self.ready and self.failure:
                    raise BenchmarkError(self.failure)
                self.changed.clear()
                async with asyncio.timeout(STALLED_AFTER):
                    await self.changed.wait()
        except TimeoutError:
            raise BenchmarkError(f"{len(missing)} pods have not come to it, and nothing changes") from None


class Bench:
    """A namespace of its own in the cluster."""

    def __init__(self, client: Client, node: str) -> None:
        self.client = client
        self.node = node
        self.namespace = f"benchmark-{secrets.token_hex(4)}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.seen = Seen()
        self._turn = asyncio.Semaphore(CONNECTIONS)

    async def create(self, name: str) -> float:
        """Create a pod on the node; give when that was asked for."""
        container = {"name": "main", "image": "nginx:1.27", "resources": {"requests": {"cpu": "1m"}}}
        spec = {"nodeName": self.node, "automountServiceAccountToken": False, "containers": [container]}
        async with self._turn:
            began = time.monotonic()
            await self.client.create(self.pods, {"metadata": {"name": name}, "spec": spec})
            return began

    async def delete(self, name: str) -> float:
        """Delete a pod as `kubectl delete` does; give when that was asked for."""
        async with self._turn:
            began = time.monotonic()
            await self.client.delete(f"{self.pods}/{name}")
            return began

    async def watch(self) -> None:
        """Listen to what becomes of the pods."""
        events = list_and_watch(self.client, self.pods, clock=lambda: datetime.now(UTC), random=random.Random())
        async for type_, obj in events:
            if obj is not None:
                self.seen.hear(type_, obj.decode(), time.monotonic())

    async def open(self) -> None:
        """Make the namespace, and wait until pods can be made in it."""
        await self.client.create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.create("first")
                except Forbidden:  # it has no service account yet
                    await asyncio.sleep(0.1)
                else:
                    break
        await self.seen.wait(self.seen.ready, ["first"])


@asynccontextmanager
async def bench(client: Client, node: str) -> AsyncIterator[Bench]:
    """Have a namespace for the time of a block."""
    made = Bench(client, node)
    watching = asyncio.create_task(made.watch())
    try:
        await made.open()
        yield made
    finally:
        watching.cancel()
        await client.delete(f"/api/v1/namespaces/{made.namespace}")
        say(f"the namespace {made.namespace} is being deleted")


@dataclass(frozen=True)
class Process:
    """A process with its children, such as gunicorn with its workers."""

    label: str
    pid: int

    def cpu(self) -> float:
        """Give the seconds of processor time that they have taken so far."""
        return sum(self._cpu(pid) for pid in self._tree())

    def memory(self) -> int:
        """Give the memory that they have now, in bytes; of what several share, each has its part."""
        return sum(self._memory(pid) for pid in self._tree())

    def _memory(self, pid: int) -> int:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

    def _cpu(self, pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _tree(self) -> list[int]:
        tree = [self.pid]
        for pid in tree:
            tree += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return tree


class Meter:
    """Measures what processes take between two moments."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes
        self._began = time.monotonic()
        self._cpu = [process.cpu() for process in processes]

    def seconds(self) -> str:
        """Tell the processor time of each since."""
        return ", ".join(f"{label} {taken:.2f} s" for label, taken in self._taken())

    def percent(self) -> str:
        """Tell it as a part of one processor."""
        passed = time.monotonic() - self._began
        return ", ".join(f"{label} {100 * taken / passed:.2f} %" for label, taken in self._taken())

    def _taken(self) -> Iterator[tuple[str, float]]:
        for process, before in zip(self._processes, self._cpu, strict=True):
            yield process.label, process.cpu() - before


async def one_by_one(on: Bench, count: int) -> None:
    """Make pods, each when the one before is ready: what one pod alone takes."""
    began = {}
    for number in range(count):
        name = f"alone-{number}"
        began[name] = await on.create(name)
        await on.seen.wait(on.seen.ready, [name])
    tell(f"one pod alone, {count} times", latencies(began, on.seen.ready))


async def all_at_once(on: Bench, count: int, processes: list[Process]) -> list[str]:
    """Make all pods at once; give their names."""
    names = [f"pod-{number}" for number in range(count)]
    meter = Meter(processes)
    began = dict(zip(names, await asyncio.gather(*map(on.create, names)), strict=True))
    await on.seen.wait(on.seen.ready, names)
    tell(f"{count} pods at once, create to Ready", rate(began, on.seen.ready), latencies(began, on.seen.ready))
    tell("processor time of that", meter.seconds())
    return names


async def delete_all(on: Bench, names: list[str], processes: list[Process]) -> None:
    """Delete all pods at once."""
    meter = Meter(processes)
    began = dict(zip(names, await asyncio.gather(*map(on.delete, names)), strict=True))
    await on.seen.wait(on.seen.gone, names)
    tell(f"{len(names)} pods at once, delete to gone", rate(began, on.seen.gone), latencies(began, on.seen.gone))
    tell("processor time of that", meter.seconds())


def rate(began: dict[str, float], ended: dict[str, float]) -> str:
    """Tell how many a second, from the first beginning to the last end."""
    return f"{len(began) / (max(ended[name] for name in began) - min(began.values())):.0f} pods/s"


def latencies(began: dict[str, float], ended: dict[str, float]) -> str:
    """Tell the median and the 99th percentile."""
    times = sorted(ended[name] - moment for name, moment in began.items())
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return f"p50 {statistics.median(times) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


def tell(what: str, *values: str) -> None:
    """Print a line of the table."""
    print(f"{what:<40}{', '.join(values)}", flush=True)


def _is_ready(pod: Object) -> bool:
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    return status.get("phase") == "Running" and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )


async def run(options: argparse.Namespace) -> None:
    """Measure, and print as it comes."""
    client = Client(load(options.kubeconfig, os.environ), timeout=120)
    given = {"broker": options.broker_pid, "provider": options.provider_pid}
    processes = [Process(label, pid) for label, pid in given.items() if pid]
    try:
        async with bench(client, options.node) as on:
            await one_by_one(on, options.alone)
            before = [process.memory() for process in processes]
            names = await all_at_once(on, options.pods, processes)
            grown = [(p, p.memory() - b) for p, b in zip(processes, before, strict=True)]
            tell("memory a pod", *(f"{p.label} {size / 1000 / len(names):.1f} KB" for p, size in grown))
            if options.idle and processes:
                await asyncio.sleep(5)  # let what is still on its way arrive
                meter = Meter(processes)
                await asyncio.sleep(options.idle)
                tell(f"idle with {len(names)} pods, {options.idle} s", meter.percent())
            await delete_all(on, names, processes)
    finally:
        await client.close()


def main() -> int:
    """Read the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="the cluster (KUBECONFIG)")
    parser.add_argument("--node", default="virtual-kubelet-web", help="the node to measure (%(default)s)")
    parser.add_argument("--pods", type=int, default=500, help="how many pods at once (%(default)s)")
    parser.add_argument("--alone", type=int, default=20, help="how many pods one by one before (%(default)s)")
    parser.add_argument("--idle", type=int, default=30, help="seconds to measure at rest; 0: none (%(default)s)")
    parser.add_argument("--broker-pid", type=int, help="process of the broker, for its processor time and memory")
    parser.add_argument("--provider-pid", type=int, help="process of the provider, its children are counted too")
    try:
        asyncio.run(run(parser.parse_args()))
    except (BenchmarkError, ConfigurationError, ApiError) as exc:
        say(f"node.py: {exc}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
