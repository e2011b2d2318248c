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

from benchmarks.load import (
    BATCHES,
    READS,
    VERBS,
    BenchmarkError,
    Target,
    cpu_milliseconds,
    drive,
    log,
    server_processes,
)
from benchmarks.processes import memory_bytes
from benchmarks.table import Table

LISTS_A_ROUND = 5  # the resolution of CPU time is 10 ms


def add_rate(table: Table, target: Target, call: str, *, connections: int, seconds: float) -> None:
    """Drive one call for a number of seconds; add its rate, latencies and CPU time per request."""
    if call in target.missing:
        return
    before = cpu_milliseconds(target)
    run = drive(target, call, sys.maxsize, connections=connections, seconds=seconds)
    row = f"{call or 'GET /'}, {connections} at a time: "
    table.add(f"{row}requests/s", target.label, len(run.latencies) / run.seconds)
    table.add_latencies(row, target.label, run.latencies)
    if cpu := cpu_milliseconds(target) - before:
        table.add(f"{row}CPU ms", target.label, cpu / len(run.latencies))


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
            for connections, target in itertools.product(options.connections, targets):
                add_rate(table, target, "createPod", connections=connections, seconds=options.seconds)
                add_rate(table, target, "", connections=connections, seconds=options.seconds)
                target.fill(0)
            for connections in options.connections:
                table.add(f"createPod, {connections} at a time: requests/s", "bare", count / elapsed)
    yield table


def measure_status(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure getPodStatus and getPod of random stored pods; GET / is the bound."""
    table = Table(f"status, {options.pods:,} pods stored", [target.label for target in targets])
    for _, target in itertools.product(range(options.rounds), targets):
        target.fill(options.pods)
        for call, connections in itertools.product(("", "getPodStatus", "getPod"), options.connections):
            add_rate(table, target, call, connections=connections, seconds=options.seconds)
    yield table


def measure_batch(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure createPods and deletePods with --batch pods a request; "a core": per second of CPU time."""
    table = Table(f"batch, {options.batch} pods a request", [target.label for target in targets])
    for _, target in itertools.product(range(options.rounds), targets):
        for call in BATCHES:
            before, stored = cpu_milliseconds(target), len(target.stored)
            requests = -(-stored // options.batch) if call == "deletePods" else sys.maxsize
            if call in target.missing or not requests:
                continue
            run = drive(target, call, requests, seconds=options.seconds if call == "createPods" else float("inf"))
            if refused := [item for item in run.json() if not 200 <= item["code"] < 300]:
                raise BenchmarkError(f"{call}: {refused[0]}")
            pods = abs(len(target.stored) - stored)
            table.add(f"{call}: pods/s", target.label, pods / run.seconds)
            table.add_latencies(f"{call}: ", target.label, run.latencies)
            if cpu := cpu_milliseconds(target) - before:
                table.add(f"{call}: pods/s a core", target.label, pods / cpu * 1000)
        target.fill(0)
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
                before = cpu_milliseconds(target)
                run = drive(target, "getPods", LISTS_A_ROUND)
                if cpu := cpu_milliseconds(target) - before:
                    table.add("CPU ms", target.label, cpu / LISTS_A_ROUND)
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
            for number, pid in enumerate(server_processes(target), 1):
                table.add(f"process {number}, Pss MiB", column, memory_bytes(pid) / 2**20)
        target.fill(0)
        yield table
