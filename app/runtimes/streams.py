"""Sessions of `exec`, `attach` and `port_forward`: what a runtime returns, and two ways to make it.

A session is a set of file descriptors. The provider copies between them and the client, in one event loop per
process: it reads a descriptor only while the client takes what was read, and reads from the client only while the
descriptor takes it, so that neither side is held in memory. A runtime therefore copies nothing. It starts
something that has descriptors: :func:`start_command` a program, :func:`start_function` a function in a thread.

A descriptor must be one that can be polled: a pipe, a socket or a terminal, no regular file.
"""

import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO, BinaryIO, NamedTuple

import msgspec

from app.core.errors import InvalidRequest

MINIMAL_ENVIRONMENT: Mapping[str, str] = {"PATH": os.defpath}
_SIGNALLED = 128
"""Added to the number of the signal that ended a process, as by a shell."""
_OPEN_TERMINAL = 'exec "$@" <>"$0" >&0 2>&0'
"""Run a command on a terminal. The leader of a session that opens one has it as its controlling terminal."""


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The streams that a client asks for, named as in the `PodExecOptions` of Kubernetes; at least one is set.

    Attributes:
        tty: a terminal instead of pipes. Standard error is then part of standard output, and `stderr` is False.
    """

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the streams."""
        return [name for name in ("stdin", "stdout", "stderr") if getattr(self, name)]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A command that was started, or the streams of a container.

    The provider sets the descriptors to non-blocking, and closes them: each when its direction has ended, all at
    the end of the session.

    Attributes:
        wait: waits for the end and returns the exit code, 0 to 255, 128 + n after signal n; 0 for an attached
            container. Called once, in a thread, when the output has ended or after `hang_up`. An exception of
            `app.core.errors` is reported to the client.
        hang_up: ends the session because the client has gone or the provider stops; `wait` returns soon
            afterwards. Called by the event loop, so it must not block; possibly after the end.
        input_ended: called by the event loop when the client has ended standard input, after `stdin` was closed.
            None: nothing follows. An attached client whose input does not end that of the container is detached.
        stdin: descriptor that takes standard input; None where the client sends none.
        stdout: descriptor from which standard output is read; None where the client wants none.
        stderr: as `stdout`, for standard error.
        terminal: descriptor of a terminal's master, in place of the three.
        resize: sets the window size, in columns and rows, without blocking. None: that of `terminal` is set.
    """

    wait: Callable[[], int]
    hang_up: Callable[[], None]
    input_ended: Callable[[], None] | None = None
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    terminal: int | None = None
    resize: Callable[[int, int], None] | None = None


def set_window_size(terminal: int, width: int, height: int) -> None:
    """Set the size of a terminal in columns and rows; its foreground processes receive SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def start_command(
    command: Sequence[str],
    streams: StreamOptions,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] = MINIMAL_ENVIRONMENT,
    hang_up: signal.Signals = signal.SIGKILL,
) -> Session:
    """Start a program in a session of its own, with pipes or a terminal.

    A hang-up is SIGHUP for the processes of a terminal.

    Args:
        command: the program and its arguments.
        cwd: its working directory; None for that of the provider.
        env: its environment; by default `PATH` alone, since that of the provider contains the provider's token.
        hang_up: the signal that a hang-up is for processes without a terminal.

    Raises:
        InvalidRequest: the program cannot be started. One that is missing is an exit code of 127 on a terminal,
            and the message is written there.
    """
    try:
        if streams.tty:
            return _start_on_terminal(command, cwd=cwd, env=env)
        process = subprocess.Popen(  # noqa: S603 - the command of the client is to be run
            command,
            stdin=subprocess.PIPE if streams.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if streams.stdout else subprocess.DEVNULL,
            stderr=subprocess.PIPE if streams.stderr else subprocess.DEVNULL,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise InvalidRequest(f"cannot be started: {reason}", field="command") from None
    return Session(
        stdin=_detach(process.stdin),
        stdout=_detach(process.stdout),
        stderr=_detach(process.stderr),
        wait=lambda: _exit_code(process),
        hang_up=lambda: _signal(process, hang_up),
    )


class Files(NamedTuple):
    """The streams of a function, unbuffered; those that the client does not want are `/dev/null`.

    Attributes:
        hung_up: set when the function is to end.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    hung_up: Event


def start_function(function: Callable[[Files], int], streams: StreamOptions) -> Session:
    """Run a function in a thread, with pipes or a terminal, which echoes and edits lines.

    Args:
        function: returns the exit code. When the client has gone, `Files.hung_up` is set, reads return the end of
            the file, and writes raise an `OSError`, by which the function may end.
    """
    terminal = stdin = stdout = stderr = None
    if streams.tty:
        terminal, slave = os.openpty()
        theirs = [slave, os.dup(slave), os.dup(slave)]
    else:
        theirs = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
        if streams.stdin:
            theirs[0], stdin = _pipe(replaces=theirs[0])
        if streams.stdout:
            stdout, theirs[1] = _pipe(replaces=theirs[1])
        if streams.stderr:
            stderr, theirs[2] = _pipe(replaces=theirs[2])
    hung_up = Event()
    files = Files(open(theirs[0], "rb", 0), open(theirs[1], "wb", 0), open(theirs[2], "wb", 0), hung_up)  # noqa: SIM115
    ended: Future[int] = Future()

    def run() -> None:
        try:
            ended.set_result(function(files))
        except OSError:  # the client has gone
            ended.set_result(_SIGNALLED + signal.SIGPIPE)
        except BaseException as exc:
            ended.set_exception(exc)
        finally:
            for file in (files.stdin, files.stdout, files.stderr):
                file.close()

    Thread(target=run, daemon=True, name="stream").start()
    return Session(
        stdin=stdin, stdout=stdout, stderr=stderr, terminal=terminal, wait=ended.result, hang_up=hung_up.set
    )  # fmt: skip


def _pipe(*, replaces: int) -> tuple[int, int]:
    """Return the ends of a pipe, for reading and for writing, after a descriptor was closed."""
    os.close(replaces)
    return os.pipe()


def _start_on_terminal(command: Sequence[str], *, cwd: Path | None, env: Mapping[str, str]) -> Session:
    terminal, slave = os.openpty()
    try:
        process = subprocess.Popen(  # noqa: S603 - as above
            ["/bin/sh", "-c", _OPEN_TERMINAL, os.ttyname(slave), *command],
            stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=env, start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(terminal)
        raise
    finally:
        os.close(slave)
    return Session(
        terminal=terminal, wait=lambda: _exit_code(process), hang_up=lambda: _signal(process, signal.SIGHUP)
    )


def _detach(file: IO[bytes] | None) -> int | None:
    """Return a duplicate of the descriptor of a file, and close the file."""
    if file is None:
        return None
    with file:
        return os.dup(file.fileno())


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    code = process.wait()
    return code if code >= 0 else _SIGNALLED - code


def _signal(process: subprocess.Popen[bytes], signal_: signal.Signals) -> None:
    """Send a signal to a program and its children, unless it was waited for: its ID may be another's by then."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal_)
