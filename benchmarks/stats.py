"""Measure a scrape: how long it takes, and the CPU time of node and provider for each container.

Measures a provider (`/podStats`), a node (`/metrics/resource`, `/metrics/cadvisor`, `/stats/summary`), or several
of them alternately, round by round (A B A B ...), in one table: a cell is the median over the rounds, a ratio is
the median of the ratios per round. A node asks its provider at most once a second, so requests are further apart.
The client's own CPU time is not measured; what a process does between the requests is.
"""

import argparse
import json
import ssl
import sys
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from benchmarks.load import BenchmarkError, log
from benchmarks.processes import Meter, Process
from benchmarks.table import Table

_OF_PROVIDER = ("/podStats",)
_OF_NODE = ("/metrics/resource", "/metrics/cadvisor", "/stats/summary")
_IN_METRICS = {
    "/metrics/resource": b"\ncontainer_start_time_seconds{",
    "/metrics/cadvisor": b"\ncontainer_spec_memory_limit_bytes{",
}
"""What every container has once in the answer."""
_SECONDS = 60.0


class Target:
    """A provider or a node.

    Args:
        label: its column in the table.
        url: of the provider (`http`), or of the kubelet API of a node (`https`), whose certificate is not checked.
        token: bearer token to send; None for none.
    """

    def __init__(self, label: str, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        self.label = label
        self.paths = _OF_NODE if parts.scheme == "https" else _OF_PROVIDER
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection: HTTPConnection
        if parts.scheme == "https":
            context = ssl._create_unverified_context()
            self._connection = HTTPSConnection(parts.netloc, timeout=_SECONDS, context=context)
        else:
            self._connection = HTTPConnection(parts.netloc, timeout=_SECONDS)

    def get(self, path: str) -> bytes:
        """Return the body of an answer.

        Raises:
            BenchmarkError: the target cannot be reached, or refuses.
        """
        try:
            self._connection.request("GET", path, headers=self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (HTTPException, OSError) as error:
            raise BenchmarkError(f"{self.url}{path}: {error!r}") from error
        if response.status != 200:
            raise BenchmarkError(f"{self.url}{path}: {response.status} {body[:200]!r}")
        return body


def _count_containers(path: str, body: bytes) -> int:
    """Return the number of containers in an answer."""
    if path in _IN_METRICS:
        return body.count(_IN_METRICS[path])
    answer = json.loads(body)
    return sum(len(pod["containers"]) for pod in (answer if path == "/podStats" else answer["pods"]))


def main() -> int:
    """Measure the targets, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("url", nargs="+", help="http://… of a provider, https://… of the kubelet API of a node")
    add("--token", help="bearer token to send; at a node it needs `get` on `nodes/stats` and `nodes/metrics`")
    add("--path", choices=[*_OF_PROVIDER, *_OF_NODE], help="measure only this path (default: all of a target)")
    add("--rounds", type=int, default=5, help="rounds per target (%(default)s)")
    add("--requests", type=int, default=5, help="requests per round and path (%(default)s)")
    add("--interval", type=float, default=1.1, help="seconds between two requests (%(default)s)")
    for part in ("broker", "provider"):
        text = f"process of each {part}, to measure its CPU time with its children; those of all targets together"
        add(f"--{part}-pid", type=int, action="append", default=[], help=text)
    options = parser.parse_args()
    table = Table("scrape", [chr(ord("A") + number) for number in range(len(options.url))])
    targets = [Target(label, url, options.token) for label, url in zip(table.columns, options.url, strict=True)]
    pids = {"broker": options.broker_pid, "provider": options.provider_pid}
    processes = [Process(label, pid) for label, of_label in pids.items() for pid in of_label]
    for target in targets:
        print(f"{target.label} is {target.url}", flush=True)
    try:
        for number in range(1, options.rounds + 1):
            for target in targets:
                for path in target.paths:
                    if options.path in (None, path):
                        _measure(target, path, options, processes=processes, table=table)
            log(f"round {number} of {options.rounds}")
    except (BenchmarkError, KeyboardInterrupt) as error:
        log(f"stopped: {str(error) or 'interrupted'}")
        return 1
    print(f"\n{table}")
    return 0


def _measure(
    target: Target, path: str, options: argparse.Namespace, *, processes: list[Process], table: Table
) -> None:
    latencies, containers = [], 0
    meters = [(process.label, Meter([process])) for process in processes]
    for _ in range(options.requests):
        time.sleep(options.interval)
        began = time.monotonic()
        body = target.get(path)
        latencies.append(time.monotonic() - began)
        containers += _count_containers(path, body)
    if not containers:
        raise BenchmarkError(f"{target.url}{path}: no container is running")
    table.add(f"{path}: containers", target.label, containers / options.requests)
    table.add_latencies(f"{path}: ", target.label, latencies)
    used: dict[str, float] = {}
    for label, meter in meters:
        used[label] = used.get(label, 0) + meter.seconds()[label]
    for label, seconds in used.items():
        table.add(f"{path}: CPU µs per container, {label}", target.label, seconds / containers * 1e6)


if __name__ == "__main__":
    sys.exit(main())
