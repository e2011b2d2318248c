"""Commands in a container: they are children of the pod's shim, and end with their client and their container."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from app.core.errors import InvalidRequest, NotFound, NotSupported, Unavailable
from app.runtimes import set_window_size
from app.runtimes.process.shim import record
from tests.app.runtimes.process import (
    Driven,
    descriptors,
    none_left_open,
    processes,
    shell,
    shims,
    the_shim,
)
from tests.app.runtimes.process.conftest import Run
from tests.sessions import finish, read_all, read_until
from tests.waiting import eventually, together

WAITING = "echo ready; while :; do sleep 0.01; done"


@pytest.fixture
def pod(run: Run, tmp_path: Path) -> Driven:
    """Return a running pod whose container has started."""
    env = [{"name": "GREETING", "value": "hello"}]
    pod = run(shell("echo started; exec sleep 3600", env=env, workingDir=str(tmp_path)))
    pod.until_logged(b"started")
    pod.until_running()
    return pod


def zombies(parent: int) -> list[str]:
    stats = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            stats.append(Path(f"/proc/{name}/stat").read_text())
    return [stat for stat in stats if stat.rpartition(")")[2].split()[:2] == ["Z", str(parent)]]


def test_a_command_has_its_container_environment(pod: Driven, tmp_path: Path) -> None:
    ended = finish(pod.sh("echo $GREETING; pwd; umask; cat >&2; exit 3"))
    assert ended == (f"hello\n{tmp_path}\n0022\n".encode(), b"", 3)


def test_a_command_reads_until_its_input_ends(pod: Driven) -> None:
    session = pod.exec("cat", stdin=True, stdout=True)
    assert session.stdin is not None
    assert session.stderr is None
    os.write(session.stdin, b"one\n")
    assert read_until(session.stdout, b"one\n")
    os.close(session.stdin)
    assert finish(session) == (b"", b"", 0)


def test_a_signal_is_128_and_its_number(pod: Driven) -> None:
    assert finish(pod.sh("kill -9 $$")).code == 137


def test_a_terminal_has_a_size_that_changes(pod: Driven) -> None:
    session = pod.sh(f"trap 'stty size; exit' WINCH; tty -s && echo $TERM; stty size; {WAITING}", tty=True)
    assert session.terminal is not None
    assert read_until(session.terminal, b"ready\r\n") == b"xterm\r\n0 0\r\nready\r\n"
    set_window_size(session.terminal, 100, 40)
    assert finish(session) == (b"40 100\r\n", b"", 0)


def test_an_interrupt_reaches_the_terminal_foreground(pod: Driven) -> None:
    session = pod.sh(f"trap 'exit 5' INT; {WAITING}", tty=True)
    assert session.terminal is not None
    read_until(session.terminal, b"ready")
    os.write(session.terminal, b"\x03")
    assert finish(session).code == 5


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nothing-here", 'exec: "nothing-here": executable file not found in $PATH'),
        ("/nothing/here", 'exec: "/nothing/here": no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("a\0b", "command: not a valid argument of a process"),
    ],
)
def test_a_command_that_cannot_start_is_refused(pod: Driven, command: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        pod.exec(command)
    assert str(refusal.value) == message


def test_a_container_that_does_not_run_is_not_found(run: Run) -> None:
    pod = run(shell("exit 0"), shell("exec sleep 3600", "other"), restartPolicy="Never")
    pod.until(lambda _: pod.container().state.terminated)
    with pytest.raises(NotFound, match='container not found \\("web"\\)'):
        pod.exec("true")
    pod.delete(grace=0)
    pod.until_over()
    eventually(lambda: not shims(pod.directory.path))
    with pytest.raises(NotFound, match="no container of the pod is running"):
        pod.exec("true")


@pytest.mark.parametrize("tty", [True, False])
def test_a_client_that_hangs_up_ends_its_command(pod: Driven, *, tty: bool) -> None:
    session = pod.sh(WAITING, tty=tty, stdout=True)
    read_until(session.terminal if tty else session.stdout, b"ready")
    session.hang_up()
    assert session.wait() == 128 + (signal.SIGHUP if tty else signal.SIGTERM)
    eventually(lambda: len(processes(pod.directory.mark)) == 1)
    session.hang_up()


def test_a_killed_provider_leaves_no_command(pod: Driven) -> None:
    worker = os.fork()
    if worker == 0:
        with suppress(BaseException):
            session = pod.sh(WAITING, tty=True)  # kept: one that is not referred to hangs up
            read_until(session.terminal, b"ready")
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGKILL
    eventually(lambda: len(processes(pod.directory.mark)) == 1)


def test_a_command_ends_with_its_container(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"while [ ! -e {tmp_path}/stop ]; do sleep 0.01; done"), restartPolicy="OnFailure")
    pod.until_running()
    session = pod.exec("/usr/bin/env", "-i", "/bin/sh", "-c", f"trap '' TERM; {WAITING}")
    read_until(session.stdout, b"ready")
    (tmp_path / "stop").touch()
    assert finish(session).code == 137
    pod.until_over()


def test_a_command_ends_with_a_deleted_pod(pod: Driven) -> None:
    session = pod.sh(f"trap '' TERM; {WAITING}")
    read_until(session.stdout, b"ready")
    pod.delete(grace=0)
    assert finish(session).code == 137
    pod.until_over()


def test_a_killed_shim_ends_its_sessions(pod: Driven) -> None:
    session = pod.sh(f"setsid sleep 3600 & {WAITING}")
    read_until(session.stdout, b"ready")
    os.kill(the_shim(pod.directory.path), signal.SIGKILL)
    with pytest.raises(Unavailable, match="the shim of the pod was killed"):
        session.wait()
    # The next shim ends what has left the session, and runs the container again.
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    eventually(lambda: len(processes(pod.directory.mark)) == 1)
    assert finish(pod.exec("true")).code == 0


def test_a_shim_without_sessions_is_refused(pod: Driven) -> None:
    (pod.directory.path / "streams.socket").unlink()  # as with the shim of an earlier version
    with pytest.raises(NotSupported, match="an earlier version"):
        pod.exec("true")


@pytest.mark.parametrize(
    "request_",
    [
        b'{"type": "checkpoint"}',
        b"[]",
        b'{"type": "exec", "container": "web", "command": [], "streams": [], "tty": false}',
    ],
)
def test_a_shim_refuses_requests_of_other_versions(pod: Driven, request_: bytes) -> None:
    with record.connect(str(pod.directory.path), record.STREAMS_SOCKET, timeout=30) as connection:
        connection.sendall(request_ + b"\n")
        assert b"started by another version" in connection.recv(1000)
    assert finish(pod.exec("true")).code == 0


@pytest.mark.parametrize("half", [b"", b'{"type": "ex', b'{"type": "exec"\n'])
def test_a_provider_that_goes_leaves_nothing(pod: Driven, half: bytes) -> None:
    with record.connect(str(pod.directory.path), record.STREAMS_SOCKET, timeout=30) as connection:
        connection.sendall(half)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""
    assert finish(pod.exec("true")).code == 0


def test_many_sessions_leave_nothing_behind(pod: Driven) -> None:
    shim = the_shim(pod.directory.path)
    before = descriptors(shim, "self")
    ended = together(20, lambda number: finish(pod.sh(f"exit {number}", stdout=True, tty=number % 2 == 0)).code)
    assert ended == list(range(20))
    with pytest.raises(InvalidRequest):
        pod.exec("nothing-here", stdin=True, stdout=True)
    eventually(lambda: none_left_open(before, shim, "self"))
    assert zombies(shim) == []


def test_children_of_a_command_outlast_it(pod: Driven) -> None:
    assert finish(pod.sh("sleep 3600 > /dev/null 2>&1 &")).code == 0
    assert len(processes(pod.directory.mark)) == 2


def test_much_output_waits_for_a_reader(pod: Driven) -> None:
    session = pod.sh("head -c 3000000 /dev/zero")
    assert session.stdout is not None
    assert len(read_all(session.stdout)) == 3_000_000
    assert session.wait() == 0
