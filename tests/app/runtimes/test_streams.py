"""Sessions of commands and functions: their descriptors, exit codes and hang-ups."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event

import pytest

from app.core.errors import InvalidRequest
from app.runtimes import Files, Session, StreamOptions, set_window_size, start_command, start_function
from tests.sessions import read_all, read_until

PIPES = StreamOptions(stdin=True, stdout=True, stderr=True)
TERMINAL = StreamOptions(stdin=True, stdout=True, tty=True)


def descriptors(session: Session) -> list[int]:
    found = (session.stdin, session.stdout, session.stderr, session.terminal)
    return [descriptor for descriptor in found if descriptor is not None]


@pytest.fixture
def close() -> Iterator[Callable[[Session], Session]]:
    """A function whose argument ends at the end of the test."""
    sessions: list[Session] = []

    def keep(session: Session) -> Session:
        sessions.append(session)
        return session

    yield keep
    for session in sessions:
        session.hang_up()
        for descriptor in descriptors(session):
            os.close(descriptor)
        with suppress(InvalidRequest):
            session.wait()


Close = Callable[[Session], Session]


def test_a_command_has_three_pipes(close: Close) -> None:
    session = close(start_command(["sh", "-c", "cat; echo no >&2; exit 3"], PIPES))
    assert session.stdin is not None
    os.write(session.stdin, b"typed")
    os.dup2(os.open(os.devnull, os.O_WRONLY), session.stdin)  # the end of standard input
    assert (read_all(session.stdout), read_all(session.stderr), session.wait()) == (b"typed", b"no\n", 3)


def test_streams_not_asked_for_are_absent(close: Close) -> None:
    session = close(start_command(["sh", "-c", "cat; echo no >&2; echo yes"], StreamOptions(stdout=True)))
    assert (session.stdin, session.stderr) == (None, None)
    assert (read_all(session.stdout), session.wait()) == (b"yes\n", 0)


def test_a_signal_counts_from_128(close: Close) -> None:
    assert close(start_command(["sh", "-c", "kill -9 $$"], PIPES)).wait() == 128 + 9


def test_a_hang_up_kills_the_command_and_children(close: Close) -> None:
    session = close(start_command(["sh", "-c", "sleep 60 & echo; wait"], PIPES))
    read_until(session.stdout, b"\n")
    session.hang_up()
    assert (read_all(session.stdout), session.wait()) == (b"", 128 + signal.SIGKILL)
    session.hang_up()  # has no effect any more


def test_a_missing_command_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="command: cannot be started: No such file or directory"):
        start_command(["/nowhere"], PIPES)


def test_the_settings_stay_out_of_commands(close: Close, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_TOKEN", "secret")
    assert b"TOKEN" not in read_all(close(start_command(["env"], PIPES)).stdout)


def test_a_terminal_has_a_size_and_signals(close: Close) -> None:
    command = ["sh", "-c", "trap 'stty size; exit 7' WINCH; tty; while read line; do :; done; sleep 60"]
    session = close(start_command(command, TERMINAL))
    assert session.terminal is not None
    assert b"/dev/" in read_until(session.terminal, b"\n")
    set_window_size(session.terminal, 100, 30)
    assert b"30 100\r\n" in read_all(session.terminal)
    assert session.wait() == 7


def test_ctrl_c_interrupts_a_command_on_a_terminal(close: Close) -> None:
    session = close(start_command(["cat"], TERMINAL))
    assert session.terminal is not None
    os.write(session.terminal, b"typed\n")
    read_until(session.terminal, b"typed\r\ntyped\r\n")
    os.write(session.terminal, b"\x03")
    assert session.wait() == 128 + signal.SIGINT


def test_a_hang_up_ends_a_terminal(close: Close) -> None:
    session = close(start_command(["sh", "-c", "echo ready; sleep 60"], TERMINAL))
    read_until(session.terminal, b"\n")
    session.hang_up()
    assert session.wait() == 128 + signal.SIGHUP


def test_a_function_reads_and_writes(close: Close) -> None:
    def upper(files: Files) -> int:
        files.stdout.write(files.stdin.read(5).upper())
        files.stderr.write(b"no")
        return 4

    session = close(start_function(upper, PIPES))
    assert session.stdin is not None
    os.write(session.stdin, b"typed")
    assert (read_all(session.stdout), read_all(session.stderr), session.wait()) == (b"TYPED", b"no", 4)


def test_a_function_on_a_terminal_reads_lines(close: Close) -> None:
    session = close(start_function(lambda files: files.stdout.write(files.stdin.readline()) and 0, TERMINAL))
    assert session.terminal is not None
    os.write(session.terminal, b"typed\n")
    assert (read_all(session.terminal), session.wait()) == (b"typed\r\ntyped\r\n", 0)


def test_a_function_ends_after_a_hang_up(close: Close) -> None:
    began = Event()

    def wait(files: Files) -> int:
        began.set()
        files.hung_up.wait(60)
        return 5

    session = close(start_function(wait, StreamOptions(stdout=True)))
    began.wait(60)
    session.hang_up()
    assert session.wait() == 5


def test_a_function_whose_reader_left_ends(close: Close) -> None:
    def write(files: Files) -> int:
        while True:
            files.stdout.write(b"x" * 65536)

    session = start_function(write, StreamOptions(stdout=True))
    assert session.stdout is not None
    os.close(session.stdout)
    assert session.wait() == 128 + signal.SIGPIPE


def test_an_exception_of_a_function_is_raised(close: Close) -> None:
    def fail(_: Files) -> int:
        raise InvalidRequest("no such thing")

    with pytest.raises(InvalidRequest):
        close(start_function(fail, PIPES)).wait()
