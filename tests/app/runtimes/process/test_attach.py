"""Clients that are attached to a container: its output from then on, its input and its terminal."""

import os
import resource
from pathlib import Path

import pytest

from app.core.errors import NotFound, Unavailable
from tests.app.runtimes.process import (
    descriptors,
    lowest_free,
    none_left_open,
    shell,
    the_shim,
)
from tests.app.runtimes.process.conftest import Run
from tests.sessions import finish, read_until
from tests.waiting import eventually

ECHO = "while read line; do echo got $line; done; echo end"


def test_clients_get_output_from_their_attachment(run: Run, tmp_path: Path) -> None:
    script = f"echo one; until [ -e {tmp_path}/go ]; do sleep 0.01; done; printf two; echo three >&2"
    pod = run(shell(script), restartPolicy="Never")
    pod.until_logged(b"one")
    sessions = [pod.attach(), pod.attach(stdout=True)]
    (tmp_path / "go").touch()
    assert [finish(session) for session in sessions] == [(b"two", b"three\n", 0), (b"two", b"", 0)]
    pod.until_over()
    assert sorted(pod.log()) == [b"one", b"three", b"two"]


def test_standard_input_stays_open_for_others(run: Run) -> None:
    pod = run(shell(ECHO, stdin=True))
    pod.until_running()
    for word in (b"one", b"two"):
        session = pod.attach(stdin=True, stdout=True)
        assert session.stdin is not None
        os.write(session.stdin, word + b"\n")
        assert read_until(session.stdout, b"\n") == b"got " + word + b"\n"
        os.close(session.stdin)
        assert session.input_ended
        session.input_ended()  # the client is detached
        assert finish(session) == (b"", b"", 0)
    assert pod.container().state.running
    assert pod.log() == [b"got one", b"got two"]


def test_standard_input_once_ends_with_its_client(run: Run) -> None:
    pod = run(shell(ECHO, stdin=True, stdinOnce=True), restartPolicy="Never")
    pod.until_running()
    session = pod.attach(stdin=True, stdout=True)
    second = pod.attach(stdin=True, stdout=True)
    assert second.stdin is None
    assert session.input_ended is None
    assert session.stdin is not None
    os.write(session.stdin, b"one\n")
    os.close(session.stdin)
    assert finish(session) == finish(second) == (b"got one\nend\n", b"", 0)
    assert pod.until_over().phase == "Succeeded"


def test_a_refused_client_ends_no_input(run: Run) -> None:
    pod = run(shell(f"echo started; {ECHO}", stdin=True, stdinOnce=True), restartPolicy="Never")
    pod.until_logged(b"started")
    shim = the_shim(pod.directory.path)
    limit = resource.prlimit(shim, resource.RLIMIT_NOFILE)
    # A connection and standard input still fit, a pipe for the output does not.
    resource.prlimit(shim, resource.RLIMIT_NOFILE, (lowest_free(shim, 3), limit[1]))
    with pytest.raises(Unavailable, match="cannot attach: Too many open files"):
        pod.attach(stdin=True, stdout=True)
    resource.prlimit(shim, resource.RLIMIT_NOFILE, limit)
    session = pod.attach(stdin=True, stdout=True)
    assert session.stdin is not None
    os.write(session.stdin, b"one\n")
    os.close(session.stdin)
    assert finish(session) == (b"got one\nend\n", b"", 0)


def test_a_container_without_input_reads_none(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"cat; until [ -e {tmp_path}/go ]; do sleep 0.01; done"), restartPolicy="Never")
    pod.until_running()
    session = pod.attach(stdin=True, stdout=True)
    assert session.stdin is None
    (tmp_path / "go").touch()
    assert finish(session).code == 0


def test_a_container_can_have_a_terminal(run: Run) -> None:
    script = "tty -s && echo $TERM; read line; stty size; read line; echo got $line >&2"
    pod = run(shell(script, stdin=True, tty=True), restartPolicy="Never")
    pod.until_logged(b"xterm\r")
    session = pod.attach(stdin=True, stdout=True, tty=True)
    assert session.stdin is not None
    assert session.resize
    session.resize(100, 40)
    os.write(session.stdin, b"\n")
    read_until(session.stdout, b"40 100\r\n")
    os.write(session.stdin, b"word\n")
    os.close(session.stdin)
    assert finish(session) == (b"word\r\ngot word\r\n", b"", 0)
    session.resize(1, 1)
    assert pod.until_over().phase == "Succeeded"
    assert pod.log() == [b"xterm\r", b"\r", b"40 100\r", b"word\r", b"got word\r"]


def test_an_attachment_ends_with_a_run(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"until [ -e {tmp_path}/go ]; do sleep 0.01; done; rm {tmp_path}/go; exit 1"))
    pod.until_running()
    session = pod.attach()
    (tmp_path / "go").touch()
    assert finish(session).code == 0
    pod.until(lambda _: pod.container().restart_count == 1)


def test_a_detached_client_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"until [ -e {tmp_path}/go ]; do echo line; sleep 0.01; done", stdin=True))
    pod.until_logged(b"line")
    shim = the_shim(pod.directory.path)
    before = descriptors(shim, "self")
    for _ in range(3):
        session = pod.attach(stdin=True, stdout=True, stderr=True)
        read_until(session.stdout, b"line")
        session.hang_up()
        assert session.wait() == 0
        for fd in (session.stdin, session.stdout, session.stderr):
            assert fd is not None
            os.close(fd)
    eventually(lambda: none_left_open(before, shim, "self"))


def test_output_for_a_slow_client_is_complete(run: Run, tmp_path: Path) -> None:
    lines = 30_000
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done; seq {lines}; echo end >&2"
    pod = run(shell(script), restartPolicy="Never")
    pod.until_running()
    session = pod.attach()
    (tmp_path / "go").touch()
    expected = b"".join(b"%d\n" % number for number in range(1, lines + 1))
    assert finish(session) == (expected, b"end\n", 0)
    pod.until_over()
    assert [line for line in pod.log() if line != b"end"] == expected.splitlines()


def test_a_container_in_back_off_is_refused(run: Run) -> None:
    pod = run(shell("exit 0"), shell("exec sleep 3600", "other"), restartPolicy="Never")
    pod.until(lambda _: pod.container().state.terminated)
    with pytest.raises(NotFound, match='container not found \\("web"\\)'):
        pod.attach()
