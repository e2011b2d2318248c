"""Measure a fleet: how fast its nodes become ready, what they cost while idle, and pods on all of them.

The nodes are created here, with a mark for the process that takes them on, and deleted at the end, also after
Ctrl-C. With --peer-mark, two such processes are measured alternately, round by round; the table is that of
`benchmarks/node.py`.

A broker takes on nodes with the default mark by the fleet file `adopt: {benchmark.example/fleet: a}`; KWOK those
with `kwok.x-k8s.io/node=fake`. With --fleet-file, the broker of A makes its nodes itself: the file, which the
broker reads, is written with a pool of them, and at the end without. All times are measured by a client of the API
server: from sending the create of a node, or from writing the file, until the watch reports the node as Ready.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from benchmarks.cluster import Seen, bench
from benchmarks.load import log
from benchmarks.node import NodeUnderTest, add_idle, exit_code, parser_of, processes_of
from benchmarks.processes import Meter, Process, until_quiet
from benchmarks.table import Table
from broker.kubernetes.client import Client
from broker.kubernetes.config import load
from broker.kubernetes.errors import NotFound

_NODES = "/api/v1/nodes"
_CONNECTIONS = 30
_RESOURCES = {"cpu": "64", "memory": "256Gi", "pods": "500"}


class FleetUnderTest:
    """The nodes of one mark, and the processes that implement them.

    Args:
        label: the fleet's column in the table.
        client: creates and deletes the nodes.
        mark: annotation and label of the nodes, `KEY=VALUE`.
        processes: the processes whose CPU time and memory are measured.
        table: receives a sample per round.
        file: the fleet file of the first of the processes, a broker that makes the nodes itself.
    """

    def __init__(
        self,
        label: str,
        client: Client,
        mark: str,
        *,
        processes: list[Process],
        table: Table,
        file: Path | None = None,
    ) -> None:
        self._label = label
        self._client = client
        key, _, value = mark.partition("=")
        self._marks = {key: value}
        self._processes = processes
        self._table = table
        self._file = file
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    async def measure(self, options: argparse.Namespace) -> None:
        """Measure one round; no node of it is left."""
        async with self._nodes(f"benchmark-{secrets.token_hex(4)}", options.nodes) as nodes:
            idle = await add_idle(self._table, self._label, self._processes, options.idle) if options.idle else 0
            if options.pods:
                async with bench(self._client, nodes) as on:
                    pods = NodeUnderTest(self._label, on, self._processes, self._table, idle=idle)
                    names = await pods.create_all([f"pod-{number}" for number in range(options.pods)])
                    await pods.delete_all([*names, "first"])

    @asynccontextmanager
    async def _nodes(self, prefix: str, count: int) -> AsyncIterator[list[str]]:
        """Create the nodes and yield their names when all are ready; delete them at the end of the block."""
        seen, names = Seen(), [f"{prefix}-{number}" for number in range(count)]
        watching = asyncio.create_task(seen.watch(self._client, _NODES))
        try:
            meter, before = Meter(self._processes), self._memory()
            if self._file:
                began = dict.fromkeys(names, self._apply(self._file, {"name": prefix, "count": count}))
            else:
                began = dict(zip(names, await asyncio.gather(*map(self._create, names)), strict=True))
            await seen.wait(seen.ready, names)
            seconds = max(seen.ready[name] for name in names) - min(began.values())
            self._add("nodes: all ready s", seconds)
            latencies = [seen.ready[name] - start for name, start in began.items()]
            self._table.add_latencies("nodes: ", self._label, latencies)
            await until_quiet(self._processes, idle=len(names) / 50)  # the leases
            if self._processes:
                self._add("nodes: CPU ms per node", sum(meter.seconds().values()) * 1000 / len(names))
                self._add("nodes: memory KB per node", (self._memory() - before) / 1000 / len(names))
                self._add("nodes: memory MB", self._memory() / 1e6)
            yield names
        finally:
            if self._file:
                self._apply(self._file)
                await seen.wait(seen.gone, names)
            else:
                await asyncio.gather(*map(self._delete, names))
            watching.cancel()

    def _apply(self, file: Path, *pools: dict[str, object]) -> float:
        """Write pools to the file of the broker and signal the broker; return the time."""
        began = time.monotonic()
        file.write_bytes(msgspec.json.encode({"pools": [{**pool, "capacity": _RESOURCES} for pool in pools]}))
        os.kill(self._processes[0].pid, signal.SIGHUP)
        return began

    async def _create(self, name: str) -> float:
        node = {
            "metadata": {"name": name, "labels": self._marks, "annotations": self._marks},
            "status": {"capacity": _RESOURCES, "allocatable": _RESOURCES},
        }
        async with self._connections:
            began = time.monotonic()
            await self._client.create(_NODES, node)
            return began

    async def _delete(self, name: str) -> None:
        async with self._connections:
            with suppress(NotFound):
                await self._client.delete(f"{_NODES}/{name}")

    def _memory(self) -> int:
        return sum(process.memory_bytes() for process in self._processes)

    def _add(self, row: str, sample: float) -> None:
        self._table.add(row, self._label, sample)


async def run(options: argparse.Namespace) -> None:
    """Measure the fleets in turn; print the table at the end."""
    marks = [options.mark, *([options.peer_mark] if options.peer_mark else [])]
    columns = list("AB"[: len(marks)])
    table = Table(f"{options.nodes:,} nodes, {options.pods:,} pods at once", columns)
    client = Client(load(options.kubeconfig, os.environ), timeout=120)
    fleets = []
    for label, mark, processes in zip(columns, marks, processes_of(options), strict=False):
        print(f"{label} has {mark}", flush=True)
        file = options.fleet_file if label == "A" else None
        fleets.append(FleetUnderTest(label, client, mark, processes=processes, table=table, file=file))
    try:
        for number in range(1, options.rounds + 1):
            for fleet in fleets:
                await fleet.measure(options)
            log(f"round {number} of {options.rounds}")
    finally:
        if table.rows:
            print(f"\n{table}", flush=True)
        await client.close()


def main() -> int:
    """Run this benchmark."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--nodes", type=int, default=200, help="number of nodes created at once (%(default)s)")
    add("--mark", default="benchmark.example/fleet=a", help="label and annotation of A's nodes (%(default)s)")
    add("--peer-mark", metavar="KEY=VALUE", help="of B's nodes, such as kwok.x-k8s.io/node=fake")
    add("--fleet-file", type=Path, help="of A, whose broker makes the nodes; needs --broker-pid")
    return exit_code(parser, run)


if __name__ == "__main__":
    sys.exit(main())
