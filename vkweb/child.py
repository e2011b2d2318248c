"""Run a step of a command in a child process with signals passed on; end a child with its parent."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

PARENT = "_VKWEB_PARENT"
"""The environment variable with the ID of the process that a child is to end with."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FORWARDED = (signal.SIGTERM, signal.SIGINT)


def end_with_parent() -> None:
    """Request a SIGTERM for the time when the process that PARENT names ends; without PARENT, do nothing.

    `vkweb up` stops its parts when it ends, except when SIGKILL ends it. Only Linux can do this.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before
        sys.exit(128 + signal.SIGTERM)


def run_in_child(run: Callable[[], object]) -> None:
    """Run a function in a child process and wait for it; exit with its status if that is not 0.

    In a container this process has the ID 1, and the kernel drops a SIGTERM for which process 1 has no handler. A
    handler in Python does not run either while the function waits inside C code, such as a database driver. A
    child process is ended by the signal in any case. Modules that the function imports are not imported here.

    The handlers stay in force afterwards: until the caller installs its own, a signal ends this process. A signal
    that is ignored, as SIGINT by a command in the background of a script, stays ignored.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # until there are handlers that know the child
    child = os.fork()
    if child == 0:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # in place of a KeyboardInterrupt and its traceback
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        run()
        sys.exit(0)
    status = _wait(child)
    if status:
        sys.exit(status)


def _wait(child: int) -> int:
    """Wait for a child process and return its exit status: 128 plus the number if a signal ended it."""
    received: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        with suppress(ProcessLookupError):  # it has ended
            os.kill(child, number)

    _handle_signals(forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    exit_on_signals()
    if received and code <= 0:
        return 128 + received[0]
    return 128 - code if code < 0 else code


def exit_on_signals() -> None:
    """Exit on SIGTERM and SIGINT, also as process 1 of a container; the status is 128 plus the number."""
    _handle_signals(_exit)


def stop_on_hangup() -> None:
    """Stop on SIGHUP, when the terminal is closed, as on SIGTERM; unless it is ignored, as with nohup.

    The shell and the kernel both send one, and a second SIGTERM would end the process at once.
    """

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # else it has arrived, and the process stops
            signal.raise_signal(signal.SIGTERM)

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)


def open_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed, as by `2>&-`.

    Otherwise the next file or socket would get the number of the stream, and a message of a library would be
    written there.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for each in _FORWARDED:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, handler)


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
