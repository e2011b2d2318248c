"""Measure exec: how long a command takes, and how many bytes a second go through its streams.

Measures a provider (`/exec` of the contract), a node (`/exec` of the kubelet API), or both alternately, round by
round (A B A B ...), in one table: a cell is the median over the rounds, a ratio is the median of the ratios per
round. The client is a WebSocket without compression, `v5.channel.k8s.io`; its own CPU time is not measured.

The container needs `true`, `head` and `cat`: a pod of ProcessRuntime has them.
"""

import argparse
import json
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.load import BenchmarkError, log
from benchmarks.processes import Meter, Process
from benchmarks.table import Table

_STDIN, _STDOUT, _STATUS, _CLOSE = 0, 1, 3, 255
_CHUNK = bytes((_STDIN,)) + bytes(32 * 1024)
"""The size of kubectl's messages."""
_SECONDS = 60.0


class Target:
    """A provider or a node, and the container in which commands run.

    Args:
        label: its column in the table.
        url: of the provider (`http`), or of the kubelet API of a node (`https`), whose certificate is not checked.
        options: `pod` as NAMESPACE/NAME, `container` and `token`.
    """

    def __init__(self, label: str, url: str, options: argparse.Namespace) -> None:
        self.label = label
        parts = urlsplit(url)
        self._is_node = parts.scheme == "https"
        self._url = f"{'wss' if self._is_node else 'ws'}://{parts.netloc}"
        self._pod, self._container = options.pod, options.container
        self._headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}

    @contextmanager
    def exec(self, *command: str, stdin: bool = False) -> Iterator[ClientConnection]:
        """Run a command, with its standard output.

        Raises:
            BenchmarkError: the target cannot be reached, refuses, or ends the connection early.
        """
        query: list[tuple[str, str]] = [("command", argument) for argument in command]
        if self._is_node:
            path = f"/exec/{self._pod}/{self._container}"
            query += [("output", "1"), ("input", str(int(stdin)))]
        else:
            path, (namespace, _, name) = "/exec", self._pod.partition("/")
            query += [("namespace", namespace), ("podName", name), ("containerName", self._container)]
            query += [("stdout", "true"), ("stdin", str(stdin).lower())]
        context = ssl._create_unverified_context() if self._is_node else None
        try:
            with connect(
                f"{self._url}{path}?{urlencode(query)}",
                subprotocols=[Subprotocol("v5.channel.k8s.io")],
                additional_headers=self._headers,
                ssl=context,
                compression=None,
                max_size=None,
                proxy=None,
            ) as websocket:
                yield websocket
        except (WebSocketException, OSError, TimeoutError) as error:
            raise BenchmarkError(f"{self._url}{path}: {error}") from error


def main() -> int:
    """Measure the targets, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("url", nargs="+", help="http://… of a provider, https://… of the kubelet API of a node")
    add("--pod", required=True, metavar="NAMESPACE/NAME", help="a running pod")
    add("--container", required=True, help="its container")
    add("--token", help="bearer token to send; at a node it needs `create` on `nodes/proxy`")
    add("--rounds", type=int, default=5, help="rounds per target (%(default)s)")
    add("--commands", type=int, default=50, help="commands per round, one after the other (%(default)s)")
    add("--megabytes", type=int, default=200, help="bytes per round in each direction, in MB (%(default)s)")
    for part in ("broker", "provider"):
        add(f"--{part}-pid", type=int, help=f"process of the {part}, to measure its CPU time with its children")
    options = parser.parse_args()
    table = Table("exec", [chr(ord("A") + number) for number in range(len(options.url))])
    targets = [Target(label, url, options) for label, url in zip(table.columns, options.url, strict=True)]
    pids = {"broker": options.broker_pid, "provider": options.provider_pid}
    processes = [Process(label, pid) for label, pid in pids.items() if pid]
    for label, url in zip(table.columns, options.url, strict=True):
        print(f"{label} is {url}", flush=True)
    try:
        for number in range(1, options.rounds + 1):
            for target in targets:
                _measure(target, options, processes, table)
            log(f"round {number} of {options.rounds}")
    except (BenchmarkError, KeyboardInterrupt) as error:
        log(f"stopped: {str(error) or 'interrupted'}")
        return 1
    print(f"\n{table}")
    return 0


def _measure(target: Target, options: argparse.Namespace, processes: list[Process], table: Table) -> None:
    latencies = []
    for _ in range(options.commands):
        began = time.monotonic()
        with target.exec("true") as websocket:
            _read(websocket)
            latencies.append(time.monotonic() - began)
    table.add_latencies("true: ", target.label, latencies)
    total = options.megabytes * 1_000_000
    for row, move in (("output", _download), ("input", _upload)):
        meter, began = Meter(processes), time.monotonic()
        move(target, total)
        table.add(f"{row}: MB/s", target.label, total / (time.monotonic() - began) / 1e6)
        for label, seconds in meter.seconds().items():
            table.add(f"{row}: CPU s per GB, {label}", target.label, seconds / total * 1e9)


def _download(target: Target, total: int) -> None:
    with target.exec("head", "-c", str(total), "/dev/zero") as websocket:
        received = _read(websocket)
    if received != total:
        raise BenchmarkError(f"received {received} bytes of {total}")


def _upload(target: Target, total: int) -> None:
    with target.exec("sh", "-c", "cat >/dev/null", stdin=True) as websocket:
        left = total
        while left > 0:
            websocket.send(_CHUNK[: left + 1])
            left -= len(_CHUNK) - 1
        websocket.send(bytes((_CLOSE, _STDIN)))
        _read(websocket)


def _read(websocket: ClientConnection) -> int:
    """Return the number of bytes of output, after the final Status.

    Raises:
        BenchmarkError: the command has failed.
    """
    received = 0
    while True:
        message = websocket.recv(_SECONDS)
        if not isinstance(message, bytes) or not message:
            continue
        if message[0] == _STATUS:
            status = json.loads(message[1:])
            if status["status"] != "Success":
                raise BenchmarkError(status["message"])
            return received
        if message[0] == _STDOUT:
            received += len(message) - 1


if __name__ == "__main__":
    sys.exit(main())
