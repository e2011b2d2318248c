"""The processes of a container: how they are marked, found and killed to the last one. Linux only.

A container is the process that was started and everything that it has started. No control group is needed, which
only root could make, nor a PID namespace:

* The container's process leads a session of its own; most of its descendants stay in there.
* All of them inherit a variable that names the container, those too that make a session of their own.
* The shim is their *subreaper*: whoever loses its parent becomes the shim's child.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator

MARK = "VIRTUAL_KUBELET_CONTAINER"
"""The variable that names the container a process belongs to: the pod's directory and the container's name."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECONDS = 0.01
_PATIENCE_SECONDS = 2.0
"""How long to wait for killed processes to be gone. One in an uninterruptible system call may take for ever."""

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies: a container does not run on unseen."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died before this was said
        os._exit(1)


def in_session(session: int) -> Callable[[int], bool]:
    """Recognise the processes of a session, zombies left out."""

    def belongs(pid: int) -> bool:
        state, _, _, in_ = _stat(pid)
        return in_ == session and state not in "ZX"

    return belongs


def marked(mark: str) -> Callable[[int], bool]:
    """Recognise processes whose mark begins so. A zombie has none."""
    beginning = f"\0{MARK}={mark}".encode()

    def belongs(pid: int) -> bool:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return beginning in b"\0" + file.read()

    return belongs


def child(pid: int) -> bool:
    """Recognise the children of this process, zombies left out."""
    state, parent, _, _ = _stat(pid)
    return parent == os.getpid() and state not in "ZX"


def kill_all(*belong: Callable[[int], bool]) -> None:
    """Kill every process that one of these recognises, and what they start meanwhile, until none is left."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while found := list(_find(*belong)):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # gone, or another user's: nothing that could be done
                continue
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_SECONDS)


def _find(*belong: Callable[[int], bool]) -> Iterator[int]:
    own = os.getpid()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == own:
            continue
        for belongs in belong:
            try:
                if belongs(int(name)):
                    yield int(name)
                    break
            except OSError:  # ended meanwhile, or another user's
                continue


def _stat(pid: int) -> tuple[str, int, int, int]:
    """Read a process's state, parent, group and session."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name of the program, in parentheses, may have any character.
        state, parent, group, session = file.read().rpartition(b")")[2].split()[:4]
    return state.decode(), int(parent), int(group), int(session)
