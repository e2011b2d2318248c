"""The sessions of clients with a pod: `exec`, `attach` and `port-forward`.

The provider connects to `streams.socket` for each session, and sends one line of JSON:

    {"type": "exec", "container": "web", "command": ["ls", "/"], "streams": ["stdout", "stderr"], "tty": false}
    {"type": "attach", "container": "web", "streams": ["stdin", "stdout"], "tty": false}
    {"type": "portForward", "port": 8080}

The answer is a line too, with the descriptors beside it (`SCM_RIGHTS`), so that the bytes do not pass through the
shim, except for the output to attached clients. `streams` names them in their order:

    {"streams": ["stdout", "stderr"]}          pipes; a terminal's master is "terminal", a socket "connection".
                                               "terminal" beside others is for the window size only
    {"reason": "NotFound", "message": "…"}     the session is refused

After that, the connection stands for the session. Its end means that the client has gone; a second line, that the
command or the container has ended:

    {"exitCode": 0}                            0 for an attached client
    {"reason": "Unavailable", "message": "…"}

A command whose client has gone is ended: by SIGHUP on a terminal, else by SIGTERM, and five seconds later by
SIGKILL.
"""

import contextlib
import json
import os
import selectors
import socket
import time
from typing import Any

from . import ports
from .container import Container
from .processes import descendants, start
from .session import Attachment, Command, Session, send
from .streams import STDIN, TERMINAL, open_streams

_REQUEST_TIMEOUT_SECONDS = 1.0
"""How long a request may take to arrive: the provider sends it at once."""
_REQUEST_LIMIT = 4 * 1024 * 1024
"""The largest request in bytes; a command of Linux has 2 MiB at most."""
_DRAIN_SECONDS = 5.0
"""How long attached clients have to take the last output of a pod that has ended."""
_OWN_DESCRIPTORS = 64
_DESCRIPTORS_PER_SESSION = 3


class SessionRefused(Exception):
    """A session that is refused.

    Args:
        reason: the name of an error of the provider: `NotFound`, `InvalidRequest` or `Unavailable`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Sessions:
    """All sessions of a pod.

    Args:
        listener: the socket to which the provider connects.
        containers: the containers of the pod; the list may grow.
        selector: calls :meth:`accept` and the sessions.
    """

    def __init__(
        self, listener: socket.socket, containers: list[Container], selector: selectors.BaseSelector
    ) -> None:
        self._listener = listener
        self._containers = containers
        self._selector = selector
        self._sessions: list[Session] = []
        self._limit = max(1, (os.sysconf("SC_OPEN_MAX") - _OWN_DESCRIPTORS) // _DESCRIPTORS_PER_SESSION)

    def accept(self) -> None:
        """Read a request, start its session and answer."""
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the provider has gone
            return
        session: Session | None = None
        fds: dict[str, int] = {}
        try:
            request = _receive(connection)
            session, fds = self._open(request, connection)
            send(connection, {"streams": list(fds)}, list(fds.values()))
        except SessionRefused as refusal:
            with contextlib.suppress(OSError):
                send(connection, {"reason": refusal.reason, "message": str(refusal)})
        except (OSError, ValueError):  # the provider has gone
            if session:
                session.hang_up(time.monotonic())
        finally:
            for fd in fds.values():
                os.close(fd)
            if session:
                session.listen()
                self._sessions.append(session)
            else:
                connection.close()

    def reconcile(self, now: float) -> float | None:
        """Do what is due. Return the monotonic time of the next action; None to wait for an event."""
        dues = [session.reconcile(now) for session in self._sessions]
        self._sessions = [session for session in self._sessions if not session.is_over]
        return min((due for due in dues if due is not None), default=None)

    def reaped(self, pid: int, code: int) -> None:
        """End the session of a command that has exited, if the child was one."""
        for session in self._sessions:
            if isinstance(session, Command) and session.pid == pid:
                session.end(exitCode=code)

    def container_of(self, pid: int) -> Container | None:
        """Return the container of a command by its process; None if no command has it."""
        commands = (session for session in self._sessions if isinstance(session, Command) and session.pid == pid)
        return next((command.container for command in commands), None)

    def container_ended(self, container: Container) -> None:
        """End the sessions of a container that has ended; its commands are killed, as by a container runtime."""
        for session in self._sessions:
            if session.container is container:
                session.container_ended()

    def drain(self) -> None:
        """Wait until attached clients have taken the last output, a few seconds at most."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while any(not session.is_over for session in self._sessions):
            timeout = deadline - time.monotonic()
            if timeout <= 0:
                return
            for key, _ in self._selector.select(timeout):
                key.data()

    def _open(self, request: Any, connection: socket.socket) -> tuple[Session | None, dict[str, int]]:
        """Start what is requested; return the session, None for one that needs no shim, and the descriptors."""
        if len(self._sessions) >= self._limit:
            raise SessionRefused("Unavailable", f"the pod has {self._limit} sessions already")
        match request:
            case {
                "type": "exec",
                "container": name,
                "command": [_, *_] as command,
                "streams": streams,
                "tty": tty,
            }:
                return self._exec(connection, self._running(name), command, streams=streams, tty=tty)
            case {"type": "attach", "container": name, "streams": streams, "tty": tty}:
                return self._attach(connection, self._running(name), streams=streams, tty=tty)
            case {"type": "portForward", "port": port}:
                return None, {"connection": _connect(port)}
        raise SessionRefused("Unavailable", "the shim of this pod was started by another version")

    def _exec(
        self, connection: socket.socket, container: Container, command: list[str], *, streams: list[str], tty: bool
    ) -> tuple[Session, dict[str, int]]:
        env, cwd = container.running["env"], container.running["cwd"]
        try:
            with open_streams(streams, tty=tty) as opened:
                pid = start(
                    command,
                    env=env,
                    cwd=cwd,
                    mark=container.mark,
                    streams=opened,
                    namespace=container.prepared.namespace,
                )
        except (OSError, ValueError) as exc:
            raise _refused_command(exc, command[0], cwd) from exc
        return Command(connection, container, self._selector, pid=pid, tty=tty), opened.others

    def _attach(
        self, connection: socket.socket, container: Container, *, streams: list[str], tty: bool
    ) -> tuple[Session, dict[str, int]]:
        session = Attachment(connection, container, self._selector)
        fds: dict[str, int] = {}
        try:
            if container.stdin is not None and container.has_terminal and tty:
                fds[TERMINAL] = os.dup(container.stdin)
            if container.stdin is not None and STDIN in streams:
                fds[STDIN] = os.dup(container.stdin)
            session.copy_output(streams, fds)
        except OSError as exc:
            for fd in fds.values():
                os.close(fd)
            session.close_output()
            raise SessionRefused("Unavailable", f"cannot attach: {exc.strerror}") from exc
        if STDIN in fds and container.running.get("stdin_once") and not container.has_terminal:
            container.close_stdin()  # its end is then the end that this client closes
        return session, fds

    def _running(self, name: str) -> Container:
        for container in self._containers:
            if container.name == name and container.pid is not None:
                return container
        raise SessionRefused(
            "NotFound", f'container not found ("{name}")'
        )  # a kubelet's message for one that does not run


def _receive(connection: socket.socket) -> Any:
    """Read a request.

    Raises:
        ValueError: it is incomplete.
    """
    connection.settimeout(_REQUEST_TIMEOUT_SECONDS)
    with connection.makefile("rb") as file:
        return json.loads(file.readline(_REQUEST_LIMIT))


def _connect(port: int) -> int:
    try:
        return ports.connect(port, descendants()).detach()
    except OSError as exc:
        problem = exc.strerror or str(exc)
        raise SessionRefused("Unavailable", f"cannot connect to port {port} of the pod: {problem}") from exc


def _refused_command(exc: OSError | ValueError, command: str, cwd: str) -> SessionRefused:
    """Return the refusal of a command that cannot be started, in the words of runc."""
    if isinstance(exc, ValueError):
        return SessionRefused("InvalidRequest", "command: not a valid argument of a process")
    problem = (exc.strerror or "").lower()
    if exc.filename is None:  # no descriptor or no process is left
        return SessionRefused("Unavailable", f"cannot start a command: {problem}")
    if exc.filename == cwd:
        return SessionRefused("InvalidRequest", f'chdir to cwd ("{cwd}") set in config.json failed: {problem}')
    if isinstance(exc, FileNotFoundError) and "/" not in command:
        problem = "executable file not found in $PATH"
    return SessionRefused("InvalidRequest", f'exec: "{command}": {problem}')
