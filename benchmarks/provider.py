"""Measure a web provider over HTTP, and compare it with others in the same run.

One process drives all connections in one loop; each connection sends its next request after the response to the
last one (a closed loop). The servers are measured alternately, round by round (A B A B ...). A cell is the median
over the rounds, a ratio is the median of the ratios per round: variations in the speed of the machine affect
neither.

Pod names are unique to the run, in the namespace "benchmark"; all pods are deleted at the end, also after Ctrl-C.
For a provider that keeps deleted pods, use an empty database and one --only per run.
"""

import argparse
import contextlib
import functools
import ipaddress
import itertools
import json
import os
import random
import re
import secrets
import selectors
import signal
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VERBS = {"createPod": "POST", "deletePod": "DELETE", "updatePod": "PUT"}  # all others: GET
READS = {"getPod": "name=", "getPodStatus": "name=", "getContainerLogs": "tail=10&containerName=server&podName="}
NOT_OFFERED = (404, 405, 501)
STALLED_AFTER = 120.0
LISTS_A_ROUND = 5  # the resolution of CPU time is 10 ms
log = functools.partial(print, file=sys.stderr, flush=True)


class BenchmarkError(Exception):
    """The run cannot produce valid measurements."""


def pod_template(run: str) -> str:
    """Return a pod of 6.6 KB as a broker sends it, with the placeholders `@INDEX@` and `@REVISION@`."""
    env = [{"name": "DATABASE_PASSWORD", "value": "no-secret-of-anybody-but-as-long-as-a-generated-one-would-be"}]
    for port, service in enumerate(("KUBERNETES", "DATABASE", "CACHE", "MAIL", "SEARCH", "QUEUE"), 8001):
        values = {"SERVICE_HOST": "10.96.0.1", "SERVICE_PORT": f"{port}", "PORT": f"tcp://10.96.0.1:{port}"}
        values |= {f"PORT_{port}_TCP": f"tcp://10.96.0.1:{port}", f"PORT_{port}_TCP_PROTO": "tcp"}
        env += [{"name": f"{service}_{key}", "value": value} for key, value in values.items()]
    mount = {"name": "token", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    setup = {"name": "migrate", "image": "registry.example.com/shop:1.4.2", "env": env, "volumeMounts": [mount]}
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 5}
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    server = setup | {"name": "server", "livenessProbe": probe, "readinessProbe": probe, "resources": resources}
    sources = [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]
    volumes = [{"name": "token", "projected": {"sources": sources, "defaultMode": 420}}]
    spec = {"volumes": volumes, "initContainers": [setup], "containers": [server, server | {"name": "proxy"}]}
    metadata = {"name": f"bench-{run}-@INDEX@", "namespace": "benchmark", "labels": {"revision": "@REVISION@"}}
    metadata |= {"uid": f"{run}-0000-4000-8000-0000@INDEX@", "creationTimestamp": "2026-11-22T08:46:38Z"}
    return json.dumps({"metadata": metadata, "spec": spec, "status": {}}, separators=(",", ":"))


@dataclass
class Run:
    """Result of one drive of a server: times in seconds, one per response, and the last response."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    status: int = 0
    body: bytes | bytearray = b""

    def json(self) -> Any:
        """Decode the body, after removal of its chunk framing; no JSON value looks like chunk framing."""
        return json.loads(re.sub(rb"(?:\A|\r\n)[0-9a-fA-F]+\r\n", b"", self.body))


class Target:
    """A server, and the pods of this run that it stores, oldest first."""

    def __init__(self, label: str, url: str, options: argparse.Namespace) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise BenchmarkError(f"{url}: expected http://HOST[:PORT][/PATH]")
        self.label, self.url, self.base = label, url, parts.path.rstrip("/")
        self.address = (parts.hostname, parts.port or 80)
        self.local = all(
            ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(*self.address)
        )
        if not self.local and not options.allow_remote:
            raise BenchmarkError(f"{url}: not a loopback address (use --allow-remote to measure it)")
        self.headers = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self.headers += f"Authorization: Bearer {options.token}\r\n" if options.token else ""
        self.run = secrets.token_hex(4)
        self.template = pod_template(self.run)
        self.numbers = itertools.count(1)  # numbers of pods and revisions: unique in a run
        self.stored: deque[int] = deque()
        self.missing: set[str] = set()  # calls that the server does not implement
        self.accepted: tuple[int, ...] = ()  # statuses, besides 2xx, that do not stop the run

    def request(self, call: str, index: int, revision: int) -> bytes:
        """Return the bytes of a request; for calls about a pod, about the pod with this index."""
        query, length, body = "", "", ""
        if call in VERBS:
            body = self.template.replace("@INDEX@", f"{index:08}").replace("@REVISION@", str(revision))
            length = f"Content-Length: {len(body)}\r\n"
        elif call in READS:
            query = f"?namespace=benchmark&{READS[call]}bench-{self.run}-{index:08}"
        line = f"{VERBS.get(call, 'GET')} {self.base}/{call}{query} HTTP/1.1"
        return f"{line}\r\n{self.headers}{length}\r\n{body}".encode()

    def requests(self, call: str, count: int) -> Iterator[bytes]:
        """Yield `count` requests: creates of new pods, deletes of the oldest, other calls about random pods."""
        stored = list(self.stored) or [0]
        for place, number in enumerate(itertools.islice(self.numbers, count)):
            index = stored[place] if call == "deletePod" else random.choice(stored)
            if call == "createPod":
                self.stored.append(index := number)
            yield self.request(call, index, number)

    def fill(self, count: int) -> None:
        """Create pods, or delete the oldest, until exactly `count` pods of this run are stored."""
        change = count - len(self.stored)
        call = "createPod" if change > 0 else "deletePod"
        if abs(change) >= 5000:
            log(f"{self.label}: {call} {abs(change):,} times")
        drive(self, call, abs(change), connections=8)

    def probe(self) -> None:
        """Detect the calls that the server does not implement."""
        self.fill(1)
        self.accepted = NOT_OFFERED
        for call in ("", *READS, "updatePod"):
            if (run := drive(self, call, 1)).status in NOT_OFFERED:
                self.missing.add(call)
                log(f"{self.label}: {VERBS.get(call, 'GET')} /{call} returns {run.status}: not measured")
        self.accepted = ()
        self.fill(0)


def read_reply() -> Generator[None, bytes, tuple[bytes, bytearray, float]]:
    """Receive a complete response; return its head, its body and the time of the first body byte."""
    data, first_byte = bytearray(), 0.0
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += yield
    head = bytes(data[: end + 2]).lower()
    del data[: end + 4]
    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
    while len(data) < int(length[1]) if length else not data.endswith(b"0\r\n\r\n"):
        first_byte = first_byte or (time.perf_counter() if data else 0.0)
        data += yield
    return head, data, first_byte or time.perf_counter()


def drive(target: Target, call: str, count: int, *, connections: int = 1, seconds: float = float("inf")) -> Run:
    """Send `count` calls, or until the time is up; an unexpected status stops the benchmark."""
    run, begun, requests = Run(), time.perf_counter(), target.requests(call, count)
    upcoming = iter(lambda: next(requests, None) if run.seconds < seconds else None, None)

    def lane(number: int) -> Generator[None, bytes, None]:
        """Send requests one after the other; a latency includes the time to open the connection, if needed."""
        request, sent = next(upcoming, None), time.perf_counter()
        while request:
            with socket.create_connection(target.address, STALLED_AFTER) as connection:
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, (connection, number))
                head = b""
                while request and not (b"\r\nconnection: close" in head or head.startswith(b"http/1.0")):
                    connection.send(request)  # the socket buffer is larger than one request
                    head, run.body, first_byte = yield from read_reply()
                    now = time.perf_counter()
                    run.seconds, run.status = now - begun, int(head[9:12])
                    run.latencies.append(now - sent)
                    run.first_bytes.append(first_byte - sent)
                    if not 200 <= run.status < 300 and run.status not in target.accepted:
                        line = request.partition(b" HTTP/")[0].decode()
                        raise BenchmarkError(f"{line} got {run.status}: {run.body[:300].decode(errors='replace')}")
                    request, sent = next(upcoming, None), time.perf_counter()
                selector.unregister(connection)

    with selectors.DefaultSelector() as selector:
        lanes = [lane(number) for number in range(connections)]
        try:
            for waiting in lanes:
                next(waiting, None)
            while selector.get_map():
                if not (ready := selector.select(STALLED_AFTER)):
                    raise BenchmarkError(f"no response in {STALLED_AFTER:.0f} s")
                for key, _ in ready:
                    connection, number = key.data
                    if not (data := connection.recv(65_536)):
                        raise BenchmarkError("the connection was closed before the end of the response")
                    with contextlib.suppress(StopIteration):
                        lanes[number].send(data)
        except (BenchmarkError, OSError) as error:
            raise BenchmarkError(f"{target.url}: {error}") from error
    for _ in range(count if call == "deletePod" else 0):
        target.stored.popleft()
    return run


def server_processes(target: Target) -> list[tuple[float, float]]:
    """Return CPU time (ms) and memory (Pss, MiB) of each local process that holds the listening socket."""
    tables = "".join(table.read_text() for table in Path("/proc/net").glob("tcp*"))
    inodes = re.findall(rf":{target.address[1]:04X} \S+ 0A(?: +\S+){{5}} +(\d+)", tables)
    sockets = {f"socket:[{inode}]" for inode in inodes} if target.local else set()
    holders, usage = set(), []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # the process has exited, or belongs to another user
            if os.readlink(entry) in sockets:
                holders.add(entry.parent.parent)
    for process in sorted(holders, key=lambda path: int(path.name)):
        ticks = sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
        memory = (process / "smaps_rollup").read_text().partition("\nPss:")[2].split()[0]
        usage.append((ticks * 1000 / os.sysconf("SC_CLK_TCK"), int(memory) / 1024))
    return usage


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


def main() -> int:
    """Run the scenarios, delete their pods, and return the exit code."""
    scenarios = {"create": measure_create, "status": measure_status, "list": measure_list, "scale": measure_scale}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"{name}: {measure.__doc__}" for name, measure in scenarios.items())
    add = parser.add_argument
    add("url", nargs="?", default="http://127.0.0.1:3000", help="server to measure, A (%(default)s)")
    add("--peer", action="append", default=[], metavar="URL", help="server to compare with: B, C ...")
    add("--only", default=",".join(scenarios), metavar="NAME[,NAME]", help="scenarios to run (%(default)s)")
    add("--pods", type=int, default=5000, help="pods stored in status and list (%(default)s)")
    add("--connections", type=int, default=8, help="number of concurrent connections (%(default)s)")
    add("--rounds", type=int, default=5, help="rounds per server (%(default)s)")
    add("--seconds", type=float, default=3.0, help="duration of a round in create and status (%(default)s)")
    add("--calls", type=int, default=200, help="requests per round in scale (%(default)s)")
    add("--small", type=int, default=100, help="smallest number of pods in scale (%(default)s)")
    add("--large", type=int, default=50_000, help="largest number of pods in scale (%(default)s)")
    add("--scratch", metavar="DIR", help="directory of the bare SQLite database, on the same disk as the server's")
    add("--token", help="bearer token to send")
    add("--json", metavar="FILE", help="write the samples of every round to FILE")
    add("--allow-remote", action="store_true", help="also measure servers that are not on a loopback address")
    options, tables, targets = parser.parse_args(), list[Table](), list[Target]()
    names = options.only.split(",")
    if not set(names) <= set(scenarios):
        parser.error(f"--only: expected {', '.join(scenarios)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for number, url in enumerate([options.url, *options.peer]):
            targets.append(Target(chr(ord("A") + number), url, options))
            print(f"{targets[-1].label} is {url}", flush=True)
            targets[-1].probe()
        for table in itertools.chain(*(scenarios[name](options, targets) for name in names)):
            tables.append(table)
            print(f"\n{table}", flush=True)
    except (BenchmarkError, OSError, sqlite3.Error, KeyboardInterrupt) as error:
        log(f"stopped: {str(error) or 'interrupted'}")
        time.sleep(1)  # an interrupted create may still be stored
        return 1
    finally:
        for target in targets:
            target.accepted = NOT_OFFERED
            with contextlib.suppress(BenchmarkError):
                target.fill(0)
            if target.stored:
                log(f"{target.url}: pods named bench-{target.run}-* may remain in the namespace benchmark")
        if options.json:
            record = vars(options) | {"token": None, "tables": {table.title: table.rows for table in tables}}
            Path(options.json).write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
