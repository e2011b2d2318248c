"""The provider under gunicorn, and a client over sockets."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.preloaded import ROOT, Program

CLEAN = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
"""The environment without settings."""

__all__ = ["CLEAN", "ROOT", "Answer", "Client", "Server", "serving"]


class Answer(NamedTuple):
    """A response: code and phrase of the status line, headers, body."""

    code: int
    phrase: str
    headers: dict[str, str]
    body: bytes

    @property
    def status_line(self) -> str:
        """The status, which the original broker compares: `404 Not Found`."""
        return f"{self.code} {self.phrase}"

    def json(self) -> Any:
        """Decode the body."""
        return json.loads(self.body)


class Client:
    """A connection that is kept alive, and opened again if the server has closed it."""

    def __init__(self, port: int, *, timeout: float = 30) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request and read the response."""
        response = self.open(method, path, body, query=query, headers=headers)
        return Answer(response.status, response.reason, dict(response.headers), response.read())

    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> HTTPResponse:
        """Send a request; return the response with its body unread."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        self._connection.request(method, target, data, {"Content-Type": "application/json", **(headers or {})})
        return self._connection.getresponse()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str, **query: object) -> Answer:
        """Send a GET request with a query."""
        return self.request("GET", path, query=query)


class Server:
    """Gunicorn and its workers, in a process group.

    Args:
        port: port to listen on.
        settings: environment variables.
        log: file for standard error.
    """

    def __init__(self, port: int, settings: dict[str, str], log: Path) -> None:
        self.port = port
        self.settings = settings
        self.log = log
        environment = {**CLEAN, "LOG_FORMAT": "json", "PORT": str(port), **settings}
        with open(os.devnull, "r+b") as nothing, log.open("ab") as stderr:
            streams = (nothing.fileno(), nothing.fileno(), stderr.fileno())
            self.process = Program("gunicorn", cwd=ROOT, environment=environment, streams=streams)

    def client(self) -> Client:
        """Open a connection."""
        return Client(self.port)

    def wait_until_it_answers(self) -> None:
        """Wait until `/healthz` responds; fail if the process ends before."""
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                client = self.client()
                client.get("/healthz")
                client.close()
            except OSError:
                time.sleep(0.01)  # leave the CPU to the server
            else:
                return

    def signal(self, signal_: signal.Signals) -> None:
        """Send a signal to the gunicorn master."""
        self.process.send_signal(signal_)

    def kill(self) -> None:
        """Kill master and workers at once, as a power cut does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for memory in ("/dev/shm", tempfile.gettempdir()):
            shutil.rmtree(f"{memory}/virtual-kubelet-web-{self.process.pid}", ignore_errors=True)

    def stop(self) -> int:
        """Stop gracefully and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(40)

    def log_lines(self) -> list[dict[str, Any]]:
        """Read the log."""
        whole, _, _ = self.log.read_bytes().rpartition(b"\n")  # the last line may be incomplete
        return [json.loads(line) for line in whole.split(b"\n") if line]


@contextmanager
def serving(port: int, settings: dict[str, str], log: Path) -> Iterator[Server]:
    """Run a server for the duration of the block; kill its processes at the end."""
    server = Server(port, settings, log)
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
