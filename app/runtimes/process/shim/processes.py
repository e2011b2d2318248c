"""Marking, finding and killing the processes of a container. Linux only.

A container is its first process and all descendants. A control group or a PID namespace would contain them, but
requires root. Three other mechanisms find them:

* The first process leads a session; most descendants stay in it.
* All descendants inherit an environment variable that names the container, even in another session.
* The shim is their *subreaper*: an orphaned process becomes a child of the shim.
"""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from . import libc
from .namespaces import Namespace
from .streams import NO_STREAMS, Streams

MARK = "VIRTUAL_KUBELET_CONTAINER"
"""The environment variable that names the container: the pod's directory and the container's name."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECONDS = 0.01
_TIMEOUT_SECONDS = 2.0
"""How long to wait for killed processes to end; an uninterruptible system call may never return."""

_TICK_MICROSECONDS = 10**6 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """A process at a time, as the kernel describes it.

    Attributes:
        is_alive: whether it is no zombie.
        cpu: its CPU time in microseconds, with that of the ended children that it has waited for.
        memory: its resident memory in bytes.
    """

    is_alive: bool
    parent: int
    session: int
    cpu: int
    memory: int


def adopt_orphans() -> None:
    """Become the parent of all orphaned descendants."""
    libc.call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    mark: str,
    streams: Streams = NO_STREAMS,
    namespace: Namespace | None = None,
) -> int:
    """Start a process of a container in a session of its own; return its process ID.

    It enters a namespace, if there is one. With a terminal, `TERM` is `xterm` unless the container sets it, as
    with containerd.

    Raises:
        OSError: the command or the working directory cannot be used.
        ValueError: an argument or a variable cannot be passed to a process.
    """
    prepare = partial(_prepare, os.getpid(), tty=streams.tty, namespace=namespace, cwd=cwd)
    try:
        process = subprocess.Popen(  # noqa: S603 - running the pod's command is the purpose
            argv,
            env={**({"TERM": "xterm"} if streams.tty else {}), **env, MARK: mark},
            cwd=cwd if namespace is None else None,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            start_new_session=True,
            umask=0o022,
            preexec_fn=prepare,  # noqa: PLW1509 - a shim has no threads
        )
    except subprocess.SubprocessError as exc:
        raise OSError(errno.EPERM, "cannot enter the mount namespace of the container") from exc
    process.returncode = 0  # the shim reaps its children itself
    return process.pid


def _prepare(parent: int, *, tty: bool, namespace: Namespace | None, cwd: str) -> None:
    """Enter the namespace, and make the kernel kill this process when its parent ends, as its shim does.

    Its standard input becomes the controlling terminal of its session if it is one.
    """
    if tty:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if namespace:
        namespace.enter()
        os.chdir(cwd)
    libc.call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)


def in_session(session: int) -> Callable[[int], bool]:
    """Return a test for the processes of a session, except zombies."""

    def belongs(pid: int) -> bool:
        found = stat(pid)
        return found.session == session and found.is_alive

    return belongs


def marked(mark: str) -> Callable[[int], bool]:
    """Return a test for processes whose mark starts with `mark`. A zombie has no mark."""
    beginning = f"\0{MARK}={mark}".encode()

    def belongs(pid: int) -> bool:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return beginning in b"\0" + file.read()

    return belongs


def child(pid: int) -> bool:
    """Return whether a process is a child of this one, and no zombie."""
    found = stat(pid)
    return found.parent == os.getpid() and found.is_alive


def descendants() -> set[int]:
    """Return the processes of the pod: all descendants of this process, whatever their session and environment."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):  # it has ended
            children.setdefault(stat(pid).parent, []).append(pid)
    found: set[int] = set()
    parents = [os.getpid()]
    while parents:
        below = children.get(parents.pop(), [])
        found.update(below)
        parents += below
    return found


def kill_all(*belong: Callable[[int], bool]) -> None:
    """Kill all processes that match any test, and repeat until none is left or two seconds have passed."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while found := list(_find(*belong)):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # ended, or owned by another user
                continue
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_SECONDS)


def _find(*belong: Callable[[int], bool]) -> Iterator[int]:
    own = os.getpid()
    for pid in _pids():
        if pid == own:
            continue
        for belongs in belong:
            try:
                if belongs(pid):
                    yield pid
                    break
            except OSError:  # ended, or owned by another user
                continue


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def stat(pid: int) -> Stat:
    """Read `/proc/PID/stat`; the fields are those of proc_pid_stat(5).

    Raises:
        OSError: the process has ended.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The program's name, in parentheses, may contain any character.
        fields = file.read().rpartition(b")")[2].split()
    return Stat(
        is_alive=fields[0] not in (b"Z", b"X"),
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu=_cpu_microseconds(pid, own=fields[11:13]) + sum(map(int, fields[13:15])) * _TICK_MICROSECONDS,
        memory=int(fields[21]) * _PAGE,
    )


def _cpu_microseconds(pid: int, *, own: list[bytes]) -> int:
    """Return the CPU time of a process without its children.

    Its CPU clock is precise: a process that only waits has used less than the tick in which `/proc` counts, and
    metrics-server leaves out a pod with a container that has used none. Source of the clock's ID:
    clock_getcpuclockid(3) of glibc.

    Args:
        pid: the process.
        own: its time in ticks, for when it has no clock any more.
    """
    try:
        return -(-time.clock_gettime_ns(~pid << 3 | 2) // 1000)
    except OSError:
        return sum(map(int, own)) * _TICK_MICROSECONDS
