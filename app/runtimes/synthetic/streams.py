"""Simulate exec, attach and port-forward."""

import socket
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from threading import Thread
from typing import Any

from app.core.errors import NotFound
from app.kubernetes.status import PodStatus
from app.runtimes.streams import Files, Session, StreamOptions, start_function
from app.runtimes.synthetic.logs import synthetic_lines
from app.runtimes.synthetic.pod import SimulatedPod
from app.runtimes.synthetic.shell import Shell

_POLL_SECONDS = 0.2


def start_shell(pod: SimulatedPod, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
    """Execute a command; see :mod:`app.runtimes.synthetic.shell`."""
    simulated = pod.container(container)
    return start_function(lambda files: Shell(pod, simulated, files, streams.tty).run(command), streams)


def follow_log(
    pod: SimulatedPod, container: str, streams: StreamOptions, status: Callable[[], PodStatus]
) -> Session:
    """Write the log of a container until it ends; what the client sends is ignored."""

    def run(files: Files) -> int:
        try:
            for line in synthetic_lines(pod, container, previous=False, status=status):
                if line:
                    files.stdout.write(line[1].encode() + b"\n")
                elif files.hung_up.wait(_POLL_SECONDS):
                    break
        except NotFound:  # the pod is gone
            pass
        return 0

    return start_function(run, streams)


def connect(pod: SimulatedPod, port: int) -> socket.socket:
    """Return a connection to an HTTP server with one page, which names the pod and the port."""
    ours, theirs = socket.socketpair()
    page = f"pod {pod.metadata.name} of namespace {pod.metadata.namespace}, port {port}\n"
    Thread(target=_serve, args=(theirs, page.encode()), daemon=True, name="port").start()
    return ours


def _serve(connection: socket.socket, page: bytes) -> None:
    class Page(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(page)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    with connection:
        try:
            Page(connection, ("", 0), BaseServer(("", 0), Page))
        except OSError:  # the client has gone
            return
