"""Scenarios about what a provider does over time: idle, growth and soak."""

import argparse
import http.client
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import closing

from benchmarks.load import BenchmarkError, Target, cpu_milliseconds, drive, log, server_processes
from benchmarks.processes import memory_bytes
from benchmarks.table import Table

_POLL_SECONDS = 30
_MIX = (
    "createPod", "getPodStatus", "getPod", "updatePod", "getPodStatus", "deletePod", "getPodStatus", "getPod",
)  # fmt: skip
_SLICES = 20


class StatusWatch:
    """The long poll of a target's changed statuses, as a broker holds it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection = http.client.HTTPConnection(*target.address, timeout=2 * _POLL_SECONDS)
        self._headers = dict(line.split(": ") for line in target.headers.splitlines())
        self._revision = 0

    def changes(self, wait: float) -> dict[str, str]:
        """Return the phase of each pod that changed since the last call; wait up to so many seconds for one."""
        path = f"{self._target.base}/podStatuses?since={self._revision}&wait={wait:.0f}"
        self._connection.request("GET", path, headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise BenchmarkError(f"GET {path} got {response.status}: {body[:300].decode(errors='replace')}")
        answer = json.loads(body)
        self._revision = answer["revision"]
        return {pod["name"]: pod["status"].get("phase", "") for pod in answer["statuses"]}

    def until_stable(self) -> None:
        """Wait until no status changes for two seconds."""
        while self.changes(2):
            pass

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def measure_idle(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure the CPU time of a provider whose pods do not change, while a client waits for changes."""
    table = Table(f"idle, {options.pods:,} pods stored, {options.idle} s", [target.label for target in targets])
    for target in _watchable(targets):
        target.fill(options.pods)
        with closing(StatusWatch(target)) as watch:
            watch.until_stable()
            before, began = cpu_milliseconds(target), time.monotonic()
            while (passed := time.monotonic() - began) < options.idle:
                watch.changes(min(_POLL_SECONDS, options.idle - passed + 1))
            table.add("CPU %", target.label, (cpu_milliseconds(target) - before) / 10 / passed)
        target.fill(0)
    yield table


def measure_growth(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure a single new pod among 500 and among 10,000: createPod, and until it is Running."""
    for target in _watchable(targets):
        table = Table(f"growth, {target.label}", ["10,000 pods", "500 pods"])
        for column, size in (("500 pods", 500), ("10,000 pods", 10_000)):
            target.fill(size)
            with closing(StatusWatch(target)) as watch:
                watch.until_stable()
                created, running = [], []
                for _ in range(options.calls // 4):
                    began = time.perf_counter()
                    drive(target, "createPod", 1)
                    created.append(time.perf_counter() - began)
                    while "Running" not in watch.changes(_POLL_SECONDS).values():
                        pass
                    running.append(time.perf_counter() - began)
            table.add_latencies("createPod: ", column, created)
            table.add_latencies("create to Running: ", column, running)
        target.fill(0)
        yield table


def measure_soak(options: argparse.Namespace, targets: list[Target]) -> Iterator[Table]:
    """Measure a mix of reads and writes for --minutes; memory and latency are flat where the ratios are 1."""
    for target in targets:
        target.fill(options.pods)
        table = Table(
            f"soak, {target.label}, {options.pods:,} pods, {options.minutes:g} minutes", ["end", "begin"]
        )
        mix = tuple(call for call in _MIX if call not in target.missing)
        for number in range(_SLICES):
            seconds = options.minutes * 60 / _SLICES
            run = drive(target, mix, 10**9, connections=max(options.connections), seconds=seconds)
            memory = sum(map(memory_bytes, server_processes(target))) / 2**20
            p50 = statistics.median(run.latencies) * 1000
            rate = len(run.latencies) / run.seconds
            log(f"{target.label}: {rate:,.0f} requests/s, p50 {p50:.2f} ms, Pss {memory:.0f} MiB")
            if _SLICES // 4 <= number < _SLICES * 3 // 4:
                continue
            column = "begin" if number < _SLICES // 2 else "end"
            table.add("requests/s", column, rate)
            table.add("Pss MiB", column, memory)
            for call, latencies in run.latencies_of.items():
                table.add_latencies(f"{call}: ", column, latencies)
            target.fill(options.pods)
        target.fill(0)
        yield table


def _watchable(targets: list[Target]) -> Iterator[Target]:
    return (target for target in targets if "podStatuses" not in target.missing)
