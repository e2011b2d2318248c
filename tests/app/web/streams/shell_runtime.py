"""A runtime whose commands are programs on this machine, for tests of what carries their streams."""

import socket
from collections.abc import Callable, Sequence

from app.kubernetes.status import PodStatus
from app.runtimes import (
    AcceptedPod,
    InvalidRequest,
    Session,
    StreamOptions,
    Unavailable,
    start_command,
)
from app.runtimes.synthetic.runtime import SyntheticRuntime


class ShellRuntime(SyntheticRuntime):
    """Simulates pods; executes commands, attaches to a `cat`, and forwards ports to this machine."""

    def exec(self, pod: AcceptedPod, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
        return start_command(command, streams)

    def attach(
        self, pod: AcceptedPod, container: str, streams: StreamOptions, *, status: Callable[[], PodStatus]
    ) -> Session:
        if streams.stderr:
            raise InvalidRequest("the container has none", field="stderr")
        return start_command(["cat"], streams)

    def port_forward(self, pod: AcceptedPod, port: int) -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError as exc:
            raise Unavailable(f"port {port}: {exc.strerror}") from None
