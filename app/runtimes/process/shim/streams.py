"""Standard streams of a process: pipes, or one terminal in place of the three."""

import contextlib
import os
import subprocess
from collections.abc import Collection, Iterator
from typing import NamedTuple

STDIN, STDOUT, STDERR = STREAMS = ("stdin", "stdout", "stderr")
TERMINAL = "terminal"


class Streams(NamedTuple):
    """Both ends of the streams of a process.

    Attributes:
        stdin, stdout, stderr: the ends of the process; DEVNULL where nothing is open.
        tty: whether they are a terminal, which becomes the controlling terminal of the process.
        others: the other ends: stream → descriptor. Of a terminal it is the master, named `terminal`.
    """

    stdin: int
    stdout: int
    stderr: int
    tty: bool
    others: dict[str, int]


NO_STREAMS = Streams(subprocess.DEVNULL, subprocess.DEVNULL, subprocess.DEVNULL, tty=False, others={})


@contextlib.contextmanager
def open_streams(names: Collection[str], *, tty: bool) -> Iterator[Streams]:
    """Open the streams of a process that is started in the block; then its ends are closed here.

    Args:
        names: the streams to open; with a terminal, all are.
        tty: open a terminal.

    Raises:
        OSError: there are too many descriptors or terminals. In this case, and if the block raises an exception,
            the other ends are closed too.
    """
    with contextlib.ExitStack() as own, contextlib.ExitStack() as others:

        def take(stack: contextlib.ExitStack, fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        if tty:
            master, slave = os.openpty()
            take(own, slave)
            yield Streams(slave, slave, slave, tty=True, others={TERMINAL: take(others, master)})
        else:
            ends: dict[str, tuple[int, int]] = {}
            for name in names:
                reading, writing = os.pipe()
                mine, theirs = (reading, writing) if name == STDIN else (writing, reading)
                ends[name] = take(own, mine), take(others, theirs)
            stdin, stdout, stderr = (ends[name][0] if name in ends else subprocess.DEVNULL for name in STREAMS)
            yield Streams(stdin, stdout, stderr, tty=False, others={name: end for name, (_, end) in ends.items()})
        others.pop_all()
