"""Measure a Kubernetes node: how fast its pods become ready and are gone, and what that costs.

Works with any node. With --peer-node, two nodes of the same cluster are measured alternately, round by round
(A B A B ...), in one table: a cell is the median over the rounds, a ratio is the median of the ratios per round.

Creates pods in namespaces of its own, which it deletes at the end, also after Ctrl-C. All times are measured by a
client of the API server: from sending the create until the watch reports the pod as Running and Ready; from
sending the delete until the watch reports the pod as deleted. CPU time counts until the processes are quiet again,
so that work that a node postpones, such as events, is included.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from benchmarks.cluster import Bench, bench
from benchmarks.load import BenchmarkError, log
from benchmarks.processes import Meter, Process, until_quiet
from benchmarks.table import Table
from broker.errors import ConfigurationError
from broker.kubernetes.client import Client
from broker.kubernetes.config import load
from broker.kubernetes.errors import ApiError


class NodeUnderTest:
    """A node, the processes that implement it, and the pods of this run on it.

    Args:
        label: the node's column in the table.
        on: creates and deletes the pods.
        processes: the processes whose CPU time and memory are measured; empty where none is known.
        table: receives a sample per round.
        idle: percentage of one CPU that the processes use all the time.
    """

    def __init__(
        self, label: str, on: Bench, processes: list[Process], table: Table, *, idle: float = 0.0
    ) -> None:
        self._label = label
        self._on = on
        self._processes = processes
        self._table = table
        self._idle_percent = idle

    async def measure(self, number: int, options: argparse.Namespace) -> None:
        """Measure one round; no pod of it is left."""
        alone = await self._one_by_one("one pod alone", f"alone-{number}", options.alone)
        memory = sum(process.memory_bytes() for process in self._processes)
        names = await self.create_all([f"pod-{number}-{index}" for index in range(options.pods)])
        if self._processes:
            grown = sum(process.memory_bytes() for process in self._processes) - memory
            self._add("up: memory KB per pod", grown / 1000 / len(names))
        more = await self._one_by_one(f"one pod among {options.pods:,}", f"more-{number}", options.alone)
        if self._processes and options.idle:
            await self._idle(options.idle)
        await self.delete_all([*alone, *names, *more])

    async def _one_by_one(self, row: str, prefix: str, count: int) -> list[str]:
        """Create pods one after the other, each when the previous one is ready."""
        latencies, names = [], [f"{prefix}-{number}" for number in range(count)]
        for name in names:
            began = await self._on.create(name)
            await self._on.seen.wait(self._on.seen.ready, [name])
            latencies.append(self._on.seen.ready[name] - began)
        if latencies:
            self._table.add_latencies(f"{row}: ", self._label, latencies)
        await until_quiet(self._processes)
        return names

    async def create_all(self, names: list[str]) -> list[str]:
        """Create pods at once; return their names when all are ready."""
        meter = Meter(self._processes)
        began = dict(zip(names, await asyncio.gather(*map(self._on.create, names)), strict=True))
        await self._on.seen.wait(self._on.seen.ready, names)
        await self._add_all("up", began, self._on.seen.ready, meter)
        return names

    async def delete_all(self, names: list[str]) -> None:
        """Delete pods at once; return when all are gone."""
        meter = Meter(self._processes)
        began = dict(zip(names, await asyncio.gather(*map(self._on.delete, names)), strict=True))
        await self._on.seen.wait(self._on.seen.gone, names)
        await self._add_all("gone", began, self._on.seen.gone, meter)

    async def _add_all(self, row: str, began: dict[str, float], ended: dict[str, float], meter: Meter) -> None:
        """Add throughput, latencies and CPU time of pods that were all created, or all deleted, at once."""
        seconds = max(ended[name] for name in began) - min(began.values())
        self._add(f"{row}: pods/s", len(began) / seconds)
        self._table.add_latencies(f"{row}: ", self._label, [ended[name] - start for name, start in began.items()])
        await until_quiet(self._processes, idle=self._idle_percent)
        taken = meter.seconds()
        for label, cpu in taken.items():
            self._add(f"{row}: CPU ms per pod, {label}", cpu * 1000 / len(began))
        if taken:
            self._add(f"{row}: CPU ms per pod", sum(taken.values()) * 1000 / len(began))

    async def _idle(self, seconds: int) -> None:
        await add_idle(self._table, self._label, self._processes, seconds)

    def _add(self, row: str, sample: float) -> None:
        self._table.add(row, self._label, sample)


async def add_idle(table: Table, column: str, processes: list[Process], seconds: int) -> float:
    """Measure idle processes; return the percentage of one CPU that they use."""
    meter = Meter(processes)
    await asyncio.sleep(seconds)
    percent = meter.percent()
    for label, share in percent.items():
        table.add(f"idle: CPU %, {label}", column, share)
    table.add("idle: CPU %", column, sum(percent.values()))
    return sum(percent.values())


def processes_of(options: argparse.Namespace) -> tuple[list[Process], list[Process]]:
    """Return the processes of A and of B."""
    ours = [("broker", options.broker_pid), ("provider", options.provider_pid)]
    peers = [(f"peer {number}", pid) for number, pid in enumerate(options.peer_pid, 1)]
    return [Process(name, pid) for name, pid in ours if pid], [Process(name, pid) for name, pid in peers]


async def run(options: argparse.Namespace) -> None:
    """Measure the nodes in turn; print the table after each round."""
    ours, peers = processes_of(options)
    nodes = [(options.node, ours), *([(options.peer_node, peers)] if options.peer_node else [])]
    for label, (node, _) in zip("AB", nodes, strict=False):
        print(f"{label} is {node}", flush=True)
    table = Table(f"{options.pods:,} pods at once", list("AB"[: len(nodes)]))
    client = Client(load(options.kubeconfig, os.environ), timeout=120)
    try:
        async with AsyncExitStack() as stack:
            measured = []
            for label, (node, processes) in zip("AB", nodes, strict=False):
                on = await stack.enter_async_context(bench(client, [node]))
                measured.append(NodeUnderTest(label, on, processes, table))
            for number in range(1, options.rounds + 1):
                for node_under_test in measured:
                    await node_under_test.measure(number, options)
                log(f"round {number} of {options.rounds}")
    finally:
        if table.rows:
            print(f"\n{table}", flush=True)
        await client.close()


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the arguments that the benchmarks of nodes and fleets share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="kubeconfig file of the cluster (KUBECONFIG)")
    add("--rounds", type=int, default=3, help="rounds of A, and of B (%(default)s)")
    add("--pods", type=int, default=500, help="number of pods created at once (%(default)s)")
    add("--idle", type=int, default=30, help="seconds to measure while idle; 0 to skip (%(default)s)")
    add("--broker-pid", type=int, metavar="PID", help="broker of A, to measure CPU time and memory")
    add("--provider-pid", type=int, metavar="PID", help="provider of A, measured with its children")
    add("--peer-pid", type=int, metavar="PID", action="append", default=[], help="process of B; may be repeated")
    return parser


def exit_code(parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], Awaitable[None]], /) -> int:
    """Parse the arguments and run the measurements; return the exit code."""

    async def run() -> None:
        await measure(parser.parse_args())

    try:
        asyncio.run(run())
    except (BenchmarkError, ConfigurationError, ApiError) as exc:
        log(f"{parser.prog}: {exc}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> int:
    """Run this benchmark."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--node", default="virtual-kubelet-web", help="node to measure, A (%(default)s)")
    add("--peer-node", metavar="NAME", help="node to compare with, B, such as one of KWOK")
    add("--alone", type=int, default=20, help="pods created one by one, before and after these (%(default)s)")
    return exit_code(parser, run)


if __name__ == "__main__":
    sys.exit(main())
