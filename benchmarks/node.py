"""Measure a Kubernetes node: how fast its pods become ready, and what that costs.

Works with any node. Creates pods in a namespace of its own, which it deletes at the end, also after Ctrl-C. All
times are measured by a client of the API server: from sending the create until the watch reports the pod as
Running and Ready; from sending the delete until the watch reports the pod as deleted.
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
from broker.kubernetes.watch import list_and_watch
from broker.types import Object

TICKS = os.sysconf("SC_CLK_TCK")
STALLED_AFTER = 300.0
CONNECTIONS = 30
log = functools.partial(print, file=sys.stderr, flush=True)


class BenchmarkError(Exception):
    """The run cannot produce valid measurements."""


@dataclass
class Seen:
    """Times at which the watch reported each pod as ready or deleted, and the message of a failed pod."""

    ready: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    failure: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self, type_: str, pod: Object, now: float) -> None:
        """Record the first report of each state of a pod."""
        name = pod["metadata"]["name"]
        if type_ == "DELETED":
            self.gone.setdefault(name, now)
        elif _is_ready(pod):
            self.ready.setdefault(name, now)
        elif (status := pod.get("status") or {}).get("phase") == "Failed":
            self.failure = f"{name}: {status.get('reason')}: {status.get('message')}"
        self.changed.set()

    async def wait(self, seen: dict[str, float], names: Iterable[str]) -> None:
        """Wait until all of these pods are in one of the two dicts."""
        missing = set(names)
        try:
            while missing := missing - seen.keys():
                if seen is self.ready and self.failure:
                    raise BenchmarkError(self.failure)
                self.changed.clear()
                async with asyncio.timeout(STALLED_AFTER):
                    await self.changed.wait()
        except TimeoutError:
            raise BenchmarkError(
                f"{len(missing)} pods did not reach the expected state; no changes for {STALLED_AFTER:.0f} s"
            ) from None


class Bench:
    """Namespace for the pods of this run."""

    def __init__(self, client: Client, node: str) -> None:
        self.client = client
        self.node = node
        self.namespace = f"benchmark-{secrets.token_hex(4)}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.seen = Seen()
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def create(self, name: str) -> float:
        """Create a pod on the node; return the time at which the request was sent."""
        container = {"name": "main", "image": "nginx:1.27", "resources": {"requests": {"cpu": "1m"}}}
        spec = {"nodeName": self.node, "automountServiceAccountToken": False, "containers": [container]}
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

    async def watch(self) -> None:
        """Watch the pods and record their states."""
        events = list_and_watch(self.client, self.pods, clock=lambda: datetime.now(UTC), random=random.Random())
        async for type_, obj in events:
            if obj is not None:
                self.seen.record(type_, obj.decode(), time.monotonic())

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
async def bench(client: Client, node: str) -> AsyncIterator[Bench]:
    """Create the namespace; delete it at the end of the block."""
    made = Bench(client, node)
    watching = asyncio.create_task(made.watch())
    try:
        await made.open()
        yield made
    finally:
        watching.cancel()
        await client.delete(f"/api/v1/namespaces/{made.namespace}")
        log(f"the namespace {made.namespace} is being deleted")


@dataclass(frozen=True)
class Process:
    """A process with its children, such as gunicorn with its workers."""

    label: str
    pid: int

    def cpu(self) -> float:
        """Return the CPU time of all these processes so far, in seconds."""
        return sum(self._cpu(pid) for pid in self._tree())

    def memory(self) -> int:
        """Return the memory (Pss) of all these processes, in bytes."""
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
    """CPU time of processes since the meter was created."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes
        self._began = time.monotonic()
        self._cpu = [process.cpu() for process in processes]

    def seconds(self) -> str:
        """Return the CPU time of each process in seconds."""
        return ", ".join(f"{label} {taken:.2f} s" for label, taken in self._taken())

    def percent(self) -> str:
        """Return the CPU time of each process as a percentage of one CPU."""
        passed = time.monotonic() - self._began
        return ", ".join(f"{label} {100 * taken / passed:.2f} %" for label, taken in self._taken())

    def _taken(self) -> Iterator[tuple[str, float]]:
        for process, before in zip(self._processes, self._cpu, strict=True):
            yield process.label, process.cpu() - before


async def one_by_one(on: Bench, count: int) -> None:
    """Create pods one after the other, each when the previous one is ready; print the latencies."""
    began = {}
    for number in range(count):
        name = f"alone-{number}"
        began[name] = await on.create(name)
        await on.seen.wait(on.seen.ready, [name])
    print_row(f"one pod alone, {count} times", latencies(began, on.seen.ready))


async def all_at_once(on: Bench, count: int, processes: list[Process]) -> list[str]:
    """Create all pods at once; print the measurements and return the names of the pods."""
    names = [f"pod-{number}" for number in range(count)]
    meter = Meter(processes)
    began = dict(zip(names, await asyncio.gather(*map(on.create, names)), strict=True))
    await on.seen.wait(on.seen.ready, names)
    print_row(
        f"{count} pods at once, create to Ready", rate(began, on.seen.ready), latencies(began, on.seen.ready)
    )
    print_row("CPU time of these pods", meter.seconds())
    return names


async def delete_all(on: Bench, names: list[str], processes: list[Process]) -> None:
    """Delete all pods at once; print the measurements."""
    meter = Meter(processes)
    began = dict(zip(names, await asyncio.gather(*map(on.delete, names)), strict=True))
    await on.seen.wait(on.seen.gone, names)
    print_row(
        f"{len(names)} pods at once, delete to gone", rate(began, on.seen.gone), latencies(began, on.seen.gone)
    )
    print_row("CPU time of these pods", meter.seconds())


def rate(began: dict[str, float], ended: dict[str, float]) -> str:
    """Return the throughput from the first request to the last result."""
    return f"{len(began) / (max(ended[name] for name in began) - min(began.values())):.0f} pods/s"


def latencies(began: dict[str, float], ended: dict[str, float]) -> str:
    """Return the median and the 99th percentile."""
    times = sorted(ended[name] - start for name, start in began.items())
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return f"p50 {statistics.median(times) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


def print_row(label: str, *values: str) -> None:
    """Print a row of the table."""
    print(f"{label:<40}{', '.join(values)}", flush=True)


def _is_ready(pod: Object) -> bool:
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    return status.get("phase") == "Running" and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )


async def run(options: argparse.Namespace) -> None:
    """Run all measurements; print each as it is completed."""
    client = Client(load(options.kubeconfig, os.environ), timeout=120)
    pids = {"broker": options.broker_pid, "provider": options.provider_pid}
    processes = [Process(label, pid) for label, pid in pids.items() if pid]
    try:
        async with bench(client, options.node) as on:
            await one_by_one(on, options.alone)
            before = [process.memory() for process in processes]
            names = await all_at_once(on, options.pods, processes)
            grown = [(p, p.memory() - b) for p, b in zip(processes, before, strict=True)]
            print_row("memory per pod", *(f"{p.label} {size / 1000 / len(names):.1f} KB" for p, size in grown))
            if options.idle and processes:
                await asyncio.sleep(5)  # wait for pending status updates
                meter = Meter(processes)
                await asyncio.sleep(options.idle)
                print_row(f"idle with {len(names)} pods, {options.idle} s", meter.percent())
            await delete_all(on, names, processes)
    finally:
        await client.close()


def main() -> int:
    """Parse the arguments and run the measurements; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kubeconfig", default=os.environ.get("KUBECONFIG"), help="kubeconfig file of the cluster (KUBECONFIG)"
    )
    parser.add_argument("--node", default="virtual-kubelet-web", help="node to measure (%(default)s)")
    parser.add_argument("--pods", type=int, default=500, help="number of pods created at once (%(default)s)")
    parser.add_argument(
        "--alone", type=int, default=20, help="number of pods created one by one first (%(default)s)"
    )
    parser.add_argument(
        "--idle", type=int, default=30, help="seconds to measure while idle; 0 to skip (%(default)s)"
    )
    parser.add_argument("--broker-pid", type=int, help="process ID of the broker, to measure CPU time and memory")
    parser.add_argument("--provider-pid", type=int, help="process ID of the provider, measured with its children")
    try:
        asyncio.run(run(parser.parse_args()))
    except (BenchmarkError, ConfigurationError, ApiError) as exc:
        log(f"node.py: {exc}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
