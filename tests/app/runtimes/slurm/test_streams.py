"""Sessions with the containers of a job, over srun."""

import os
import sys

import pytest

from app.core.errors import NotFound
from tests.app.runtimes.process import shell
from tests.app.runtimes.slurm.conftest import Run, output
from tests.postgres import free_port
from tests.waiting import eventually, is_alive


def test_a_command_has_the_environment_of_its_container(run: Run) -> None:
    pod = run(shell("exec sleep 3600", env=[{"name": "WHO", "value": "me"}]))
    pod.until_running()
    session = pod.sh("echo $WHO in $SLURM_JOB_NAME; echo problem >&2; exit 5")
    assert output(session.stdout) == f"me in web-0.{pod.uid}.{pod.directory.path.name}\n".encode()
    assert b"problem\n" in output(session.stderr)
    assert session.wait() == 5


def test_standard_input_reaches_a_command_and_ends(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    session = pod.exec("/bin/cat", stdin=True, stdout=True)
    assert session.stdin is not None
    os.write(session.stdin, b"to the end")
    os.close(session.stdin)
    assert output(session.stdout) == b"to the end"
    assert session.wait() == 0


def test_a_command_can_have_a_terminal(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    session = pod.sh("test -t 0 && echo on a terminal", stdin=True, stdout=True, tty=True)
    assert output(session.terminal) == b"on a terminal\r\n"
    assert session.wait() == 0


def test_a_missing_command_is_told(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    session = pod.exec("nothing-here")
    assert b'exec: "nothing-here": executable file not found in $PATH' in output(session.stderr)
    assert session.wait() == 126


def test_a_client_that_goes_ends_its_command(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    session = pod.sh("echo $$; exec sleep 3600", stdout=True)
    assert session.stdout is not None
    pid = int(os.read(session.stdout, 100))
    session.hang_up()
    eventually(lambda: not is_alive(pid))
    assert session.wait() != 0
    assert pod.read().phase == "Running"


def test_a_client_attaches_to_a_container(run: Run) -> None:
    pod = run(shell("while read line; do echo got $line; done; exec sleep 3600", stdin=True))
    pod.until_running()
    session = pod.attach(stdin=True, stdout=True)
    assert session.stdin is not None
    assert session.stdout is not None
    os.write(session.stdin, b"this\n")
    assert os.read(session.stdout, 100) == b"got this\n"
    session.hang_up()
    session.wait()
    assert pod.read().phase == "Running"


def test_a_port_of_a_pod_is_reached(run: Run) -> None:
    port = free_port()
    server = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True)"
    echo = "c, _ = s.accept(); c.sendall(c.recv(9)); c.recv(9)"  # the end of the pod would end its streams
    pod = run({"name": "web", "command": [sys.executable, "-c", f"{server}; {echo}"]}, restartPolicy="Never")
    pod.until_logged(b"up")
    with pod.runtime.port_forward(pod.pod, port) as connection:
        connection.settimeout(30)
        connection.sendall(b"hello")
        assert connection.recv(9) == b"hello"
    pod.until_over()


def test_a_pod_that_waits_has_no_streams(run: Run) -> None:
    flags = {"slurm.virtual-kubelet.io/flags": "hold"}
    pod = run(shell("true"), metadata={"annotations": flags})
    with pytest.raises(NotFound):
        pod.sh("true")
