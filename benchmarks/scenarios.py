"""Measure scenarios: each drives all targets alternately and yields tables of its samples."""

import argparse
import contextlib
import itertools
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.load import READS, VERBS, Target, drive, log, server_processes

LISTS_A_ROUND = 5  # the resolution of CPU time is 10 ms


@dataclass
class Table:
    """Samples, one per round, by row and column; the ratios divide the first column by each of the others."""

    title: str
    columns: list[str]
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, column: str, sample: float) -> None:
        """Add the sample of a round."""
        self.rows.setdefault(row, {}).setdefault(column, []).append(sample)

    def __str__(self) -> str:
        lines = [["", *self.columns, *(f"{self.columns[0]}/{other}" for other in self.columns[1:])]]
        for row, samples in self.rows.items():
            series = [samples.get(column, []) for column in self.columns]
            series += [[a / b for a, b in zip(series[0], other, strict=False) if b] for other in series[1:]]
            cells = [statistics.median(values) if values else None for values in series]
            texts = ["-" if cell is None else f"{cell:,.{0 if cell >= 1000 else 2}f}" for cell in cells]
            lines.append([row, *texts])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
        return "\n".join([self.title, *map("  ".join, aligned)])

    def add_rate(self, target: Target, call: str, connections: int, seconds: float) -> None:
        """Drive one call for a number of seconds; add its rate and latencies."""
        if call not in target.missing:
            run = drive(target, call, sys.maxsize, connections=connections, seconds=seconds)
            cuts = statistics.quantiles(run.latencies, n=100)
            row = f"{call or 'GET /'}, {connections} at a time: "
            self.add(f"{row}requests/s", target.label, len(run.latencies) / run.seconds)
            self.add(f"{row}p50 ms", target.label, cuts[49] * 1000)
            self.add(f"{row}p99 ms", target.label, cuts[98] * 1000)


@contextlib.contextmanager
def scratch_database(options: argparse.Namespace) -> Iterator[sqlite3.Connection]:
    """Provide an empty table of texts, with full durability of SQLite, in a temporary directory."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.scratch) as directory,
        contextlib.closing(sqlite3.connect(f"{directory}/pods.db", isolation_level=None)) as database,
    ):
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE pods (id INTEGER PRIMARY KEY, pod TEXT NOT NULL)")
        yield database


def measure_create(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure createPod, and GET / as its bound; bare is a loop of durable one-row transactions in sqlite3."""
    table = Table("create", [*(target.label for target in targets), "bare"])
    with scratch_database(options) as database:
        for _ in range(options.rounds):
            begun, count = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - begun) < options.seconds:
                database.execute("BEGIN IMMEDIATE")
                database.execute("INSERT INTO pods (pod) VALUES (?)", (targets[0].template,))
                database.execute("COMMIT")
                count += 1
            for connections, target in itertools.product((1, options.connections), targets):
                table.add_rate(target, "createPod", connections, options.seconds)
                table.add_rate(target, "", connections, options.seconds)
                target.fill(0)
            for connections in (1, options.connections):
                table.add(f"createPod, {connections} at a time: requests/s", "bare", count / elapsed)
    yield table


def measure_status(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure getPodStatus of random stored pods."""
    table = Table(f"status, {options.pods:,} pods stored", [target.label for target in targets])
    for _, target in itertools.product(range(options.rounds), targets):
        target.fill(options.pods)
        table.add_rate(target, "getPodStatus", options.connections, options.seconds)
    yield table


def measure_list(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure getPods; bare reads the same texts from SQLite, in chunks of a hundred rows."""
    table = Table(f"list, {options.pods:,} pods stored", [*(target.label for target in targets), "bare"])
    for target in reversed(targets):
        target.fill(options.pods)
        listed = drive(target, "getPods", 1).json()
        if len(listed) != options.pods:
            log(f"{target.label}: lists {len(listed):,} pods; this run has stored {options.pods:,}")
    texts = [(json.dumps(pod, separators=(",", ":")),) for pod in listed]
    with scratch_database(options) as database:
        database.executemany("INSERT INTO pods (pod) VALUES (?)", texts)
        for _ in range(options.rounds):
            for target in targets:
                before = sum(cpu for cpu, _ in server_processes(target))
                run = drive(target, "getPods", LISTS_A_ROUND)
                if after := sum(cpu for cpu, _ in server_processes(target)):
                    table.add("CPU ms", target.label, (after - before) / LISTS_A_ROUND)
                table.add("first byte of the body, ms", target.label, statistics.median(run.first_bytes) * 1000)
                table.add("whole response, ms", target.label, statistics.median(run.latencies) * 1000)
                table.add("megabytes", target.label, len(run.body) / 1e6)
            before, size = time.process_time(), 0
            for _ in range(LISTS_A_ROUND):
                rows = database.execute("SELECT id, pod FROM pods ORDER BY id")
                while chunk := rows.fetchmany(100):
                    size += sum(len(pod) for _, pod in chunk)
            table.add("CPU ms", "bare", (time.process_time() - before) / LISTS_A_ROUND * 1000)
            table.add("megabytes", "bare", size / LISTS_A_ROUND / 1e6)
    yield table


def measure_scale(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure single-pod calls and memory per server process by number of stored pods; GET / is the control."""
    sizes = {f"{size:,} pods": size for size in sorted({options.small, 1000, options.large})}
    for target in targets:
        table = Table(f"scale, {target.label}", list(sizes)[::-1])
        for column, size in sizes.items():
            target.fill(size)
            for warm, call in itertools.product(range(options.rounds + 1), ("", *VERBS, *READS)):
                if call not in target.missing:
                    run = drive(target, call, options.calls)
                    if warm:
                        table.add(f"{call or 'GET /'}, p50 ms", column, statistics.median(run.latencies) * 1000)
            drive(target, "getPods", LISTS_A_ROUND)
            for number, (_, memory) in enumerate(server_processes(target), 1):
                table.add(f"process {number}, Pss MiB", column, memory)
        target.fill(0)
        yield table


SCENARIOS = {"create": measure_create, "status": measure_status, "list": measure_list, "scale": measure_scale}
