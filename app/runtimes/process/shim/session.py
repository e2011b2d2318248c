"""A session of a client: a command, or an attached client."""

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from .container import Container
from .output import STALL_SECONDS, Sink
from .processes import in_session, kill_all

_HANG_UP_SECONDS = 5.0
"""From the signal to a command whose client has gone to SIGKILL."""


def send(connection: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send a line, with descriptors beside it.

    Raises:
        OSError: the other end has gone.
    """
    socket.send_fds(connection, [json.dumps(message).encode() + b"\n"], fds)


class Session(ABC):
    """A session; its connection is open until it ends.

    Args:
        connection: the connection to the provider, which the session closes.
        container: its container.
        selector: calls the session when the client has gone.
    """

    def __init__(self, connection: socket.socket, container: Container, selector: selectors.BaseSelector) -> None:
        self.container = container
        self.is_over = False
        self._connection = connection
        self._selector = selector
        self._is_listening = False

    @abstractmethod
    def hang_up(self, now: float) -> None:
        """End it, because the client has gone."""

    @abstractmethod
    def container_ended(self) -> None:
        """End it, because its container has ended."""

    @abstractmethod
    def reconcile(self, now: float) -> float | None:
        """Do what is due. Return the monotonic time of the next action; None to wait for an event."""

    def listen(self) -> None:
        """Hang up when the other end of the connection is closed."""
        if not self.is_over:
            self._connection.setblocking(False)
            self._selector.register(self._connection, selectors.EVENT_READ, self._on_closed)
            self._is_listening = True

    def end(self, **result: Any) -> None:
        """Send the provider the result, and close the connection."""
        if self.is_over:
            return
        self.is_over = True
        self._stop_listening()
        with contextlib.suppress(OSError):  # the provider has gone
            send(self._connection, result)
        self._connection.close()

    def _on_closed(self) -> None:
        if self._is_listening:
            self._stop_listening()
            self.hang_up(time.monotonic())

    def _stop_listening(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self._selector.unregister(self._connection)


class Command(Session):
    """A command of `exec`.

    Args:
        pid: its process, the leader of a session of its own.
        tty: whether it has a terminal.
    """

    def __init__(
        self,
        connection: socket.socket,
        container: Container,
        selector: selectors.BaseSelector,
        *,
        pid: int,
        tty: bool,
    ) -> None:
        super().__init__(connection, container, selector)
        self.pid = pid
        self._tty = tty
        self._kill_at: float | None = None

    def hang_up(self, now: float) -> None:
        """Send SIGHUP, or SIGTERM without a terminal. Later SIGKILL follows."""
        if self._kill_at is None:
            self._kill_at = now + _HANG_UP_SECONDS
            # When the leader of a session ends, the kernel sends SIGHUP to the foreground of its terminal.
            for signal_ in (signal.SIGHUP, signal.SIGCONT) if self._tty else (signal.SIGTERM,):
                with contextlib.suppress(OSError):  # it has ended, or has changed its user
                    os.killpg(self.pid, signal_)

    def container_ended(self) -> None:
        """Kill the command."""
        if not self.is_over:
            kill_all(in_session(self.pid))

    def reconcile(self, now: float) -> float | None:
        """Kill a command that still runs after its client has gone."""
        if self.is_over or self._kill_at is None:
            return None
        if self._kill_at <= now:
            self.container_ended()
            self._kill_at = now + _HANG_UP_SECONDS
        return self._kill_at


class Attachment(Session):
    """A client that is attached to a container. It has no processes."""

    def __init__(self, connection: socket.socket, container: Container, selector: selectors.BaseSelector) -> None:
        super().__init__(connection, container, selector)
        self._sinks: list[Sink] = []
        self._container_has_ended = False

    def copy_output(self, streams: Collection[str], fds: dict[str, int]) -> None:
        """Copy the output of the container from now on; add the descriptors for the client to `fds`."""
        for output in self.container.outputs:
            if output.stream in streams:
                fds[output.stream], writing = os.pipe()
                sink = Sink(writing, self._selector, on_close=self._end_if_taken)
                self._sinks.append(sink)
                output.attach(sink)

    def hang_up(self, now: float) -> None:
        """Detach."""
        self.end(exitCode=0)
        self.close_output()

    def close_output(self) -> None:
        """Copy no more output."""
        for sink in self._sinks:
            sink.close()

    def container_ended(self) -> None:
        """End it as soon as the client has taken all output."""
        self._container_has_ended = True
        self._end_if_taken()

    def reconcile(self, now: float) -> float | None:
        """Detach a client that takes nothing."""
        stalls = [sink.stalls_at for sink in self._sinks if sink.stalls_at is not None]
        if stalls and min(stalls) <= now:
            self.end(reason="Unavailable", message=f"detached: no output was taken for {STALL_SECONDS:g} s")
            self.close_output()
            return None
        return min(stalls, default=None)

    def _end_if_taken(self) -> None:
        if self._container_has_ended and not any(sink.is_open for sink in self._sinks):
            self.end(exitCode=0)
