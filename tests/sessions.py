"""Read the sessions that a runtime returns, as the provider does."""

import os
from typing import NamedTuple

from app.runtimes import Session


class Ended(NamedTuple):
    """The output of a session, and its exit code."""

    stdout: bytes
    stderr: bytes
    code: int


def finish(session: Session, typed: bytes | None = None) -> Ended:
    """Read a session to its end, and close its descriptors.

    Args:
        typed: the whole standard input; None if the caller writes it.
    """
    if typed is not None and session.terminal is not None:
        os.write(session.terminal, typed)
    elif typed is not None and session.stdin is not None:
        os.write(session.stdin, typed)
        os.close(session.stdin)
    outputs = [session.stdout if session.terminal is None else session.terminal, session.stderr]
    stdout, stderr = (b"" if fd is None else read_all(fd) for fd in outputs)
    code = session.wait()
    for fd in outputs:
        if fd is not None:
            os.close(fd)
    return Ended(stdout, stderr, code)


def read_all(fd: int | None) -> bytes:
    """Read a pipe or the master of a terminal to its end, which for a terminal is an error."""
    assert fd is not None
    found = b""
    try:
        while data := os.read(fd, 64 * 1024):
            found += data
    except OSError:
        assert os.isatty(fd)
    return found


def read_until(fd: int | None, end: bytes) -> bytes:
    """Read a pipe or the master of a terminal until it has written some bytes."""
    assert fd is not None
    found = b""
    while end not in found:
        data = os.read(fd, 64 * 1024)
        assert data, found
        found += data
    return found
