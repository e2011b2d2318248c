"""Drive a web provider: one process sends requests on several connections, each after the last response."""

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
import socket
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.processes import cpu_seconds

VERBS = {"createPod": "POST", "deletePod": "DELETE", "updatePod": "PUT"}
BATCHES = {"createPods": "POST", "deletePods": "DELETE"}
_METHODS = VERBS | BATCHES  # all others: GET
READS = {"getPod": "name=", "getPodStatus": "name=", "getContainerLogs": "tail=10&containerName=server&podName="}
NOT_OFFERED = (404, 405, 501)
STALLED_AFTER = 120.0
_SOCKET_BUFFER = 64 * 1024
_IN_FLIGHT = 64
"""Reads leave out so many of the oldest and of the newest pods, which a request may be deleting or creating."""
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
    """Result of one drive of a server: times in seconds, one per response, also by call; the last response."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    latencies_of: dict[str, list[float]] = field(default_factory=dict)
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
        self.leaving: deque[int] = deque()  # deletes that may not be answered yet
        self.batch: int = options.batch
        self.missing: set[str] = set()  # calls that the server does not implement
        self.accepted: tuple[int, ...] = ()  # statuses, besides 2xx, that do not stop the run

    def request(self, call: str, indexes: list[int], revision: int) -> bytes:
        """Return the bytes of a request; for calls about pods, about the pods with these indexes."""
        query, length, body = "", "", ""
        if call in _METHODS:
            pods = [self.template.replace("@INDEX@", f"{index:08}") for index in indexes]
            body = f"[{','.join(pods)}]" if call in BATCHES else pods[0]
            body = body.replace("@REVISION@", str(revision))
            length = f"Content-Length: {len(body)}\r\n"
        elif call in READS:
            query = f"?namespace=benchmark&{READS[call]}bench-{self.run}-{indexes[0]:08}"
        line = f"{_METHODS.get(call, 'GET')} {self.base}/{call}{query} HTTP/1.1"
        return f"{line}\r\n{self.headers}{length}\r\n{body}".encode()

    def requests(self, calls: Sequence[str], count: int) -> Iterator[tuple[str, bytes]]:
        """Yield `count` requests, of each call in turn."""
        for call in itertools.islice(itertools.cycle(calls), count):
            number = next(self.numbers)
            yield call, self.request(call, self._indexes(call, number), number)

    def _indexes(self, call: str, number: int) -> list[int]:
        """Return the pods of a request: new ones for a create, the oldest for a delete, else a random one."""
        size = self.batch if call in BATCHES else 1
        if call.startswith("createPod"):
            created = [number, *itertools.islice(self.numbers, size - 1)]
            self.stored.extend(created)
            return created
        if call.startswith("deletePod"):
            deleted = [self.stored.popleft() for _ in range(min(size, len(self.stored)))] or [0]
            self.leaving.extend(deleted)
            return deleted
        margin = _IN_FLIGHT if len(self.stored) > 4 * _IN_FLIGHT else 0
        return [self.stored[random.randrange(margin, len(self.stored) - margin)] if self.stored else 0]

    def fill(self, count: int) -> None:
        """Create pods, or delete the oldest, until exactly `count` pods of this run are stored."""
        self.stored.extendleft(reversed(self.leaving))
        self.leaving.clear()
        change = count - len(self.stored)
        call = "createPod" if change > 0 else "deletePod"
        if abs(change) >= 5000:
            log(f"{self.label}: {call} {abs(change):,} times")
        drive(self, call, abs(change), connections=8)

    def probe(self) -> None:
        """Detect the calls that the server does not implement."""
        self.fill(1)
        self.accepted = NOT_OFFERED
        for call in ("", *READS, "updatePod", "podStatuses", *BATCHES):
            before = self.stored.copy()
            if (run := drive(self, call, 1)).status in NOT_OFFERED:
                self.missing.add(call)
                self.stored = before
                method = _METHODS.get(call, "GET")
                log(f"{self.label}: {method} /{call} returns {run.status}: not measured")
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


def drive(
    target: Target,
    calls: str | tuple[str, ...],
    count: int,
    *,
    connections: int = 1,
    seconds: float = float("inf"),
) -> Run:
    """Send `count` requests, or until the time is up; an unexpected status stops the benchmark."""
    run, begun = Run(), time.perf_counter()
    requests = target.requests((calls,) if isinstance(calls, str) else calls, count)
    nothing = ("", b"")

    def next_request() -> tuple[str, bytes]:
        return next(requests, nothing) if run.seconds < seconds else nothing

    def lane(number: int) -> Generator[None, bytes, None]:
        """Send requests one after the other; a latency includes the time to open the connection, if needed."""
        (call, request), sent = next_request(), time.perf_counter()
        while request:
            with socket.create_connection(target.address, STALLED_AFTER) as connection:
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, (connection, number))
                head = b""
                while request and not (b"\r\nconnection: close" in head or head.startswith(b"http/1.0")):
                    _send(connection, request)
                    head, run.body, first_byte = yield from read_reply()
                    now = time.perf_counter()
                    run.seconds, run.status = now - begun, int(head[9:12])
                    run.latencies.append(now - sent)
                    run.latencies_of.setdefault(call, []).append(now - sent)
                    run.first_bytes.append(first_byte - sent)
                    if not 200 <= run.status < 300 and run.status not in target.accepted:
                        line = request.partition(b" HTTP/")[0].decode()
                        raise BenchmarkError(f"{line} got {run.status}: {run.body[:300].decode(errors='replace')}")
                    (call, request), sent = next_request(), time.perf_counter()
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
    target.leaving.clear()
    return run


def _send(connection: socket.socket, request: bytes) -> None:
    """Send a request; one that is larger than the socket's buffer blocks until the server has read most of it."""
    connection.setblocking(len(request) > _SOCKET_BUFFER)
    connection.sendall(request)
    connection.setblocking(False)


def server_processes(target: Target) -> list[int]:
    """Return the IDs of the local processes that hold the listening socket, without their children."""
    tables = "".join(table.read_text() for table in Path("/proc/net").glob("tcp*"))
    inodes = re.findall(rf":{target.address[1]:04X} \S+ 0A(?: +\S+){{5}} +(\d+)", tables)
    sockets = {f"socket:[{inode}]" for inode in inodes} if target.local else set()
    holders = set()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # the process has exited, or belongs to another user
            if os.readlink(entry) in sockets:
                holders.add(int(entry.parent.parent.name))
    return sorted(holders)


def cpu_milliseconds(target: Target) -> float:
    """Return the CPU time of the server's processes so far; 0 for a server on another machine."""
    return 1000 * sum(map(cpu_seconds, server_processes(target)))
