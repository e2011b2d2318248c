"""Deadlines of sessions: a command that does not end, and a client that does not read."""

import json
import os
import selectors
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runtimes.process.shim.container import BackOff, Container
from app.runtimes.process.shim.output import STALL_SECONDS
from app.runtimes.process.shim.processes import start
from app.runtimes.process.shim.session import Attachment, Command
from app.runtimes.process.shim.streams import open_streams

NOW = 1000.0


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def a_container(path: Path, selector: selectors.BaseSelector, script: str) -> Container:
    spec: dict[str, object] = {
        "name": "web",
        "kind": "main",
        "policy": "Never",
        "argv": ["/bin/sh", "-c", script],
        "env": {},
        "cwd": "/",
        "missing": None,
        "post_start": None,
        "pre_stop": None,
        "rules": [],
    }
    return Container(spec, directory=str(path), mark="test", back_off=BackOff(1, 1), selector=selector)


def test_a_command_that_ignores_its_hangup_is_killed(tmp_path: Path, selector: selectors.BaseSelector) -> None:
    container = a_container(tmp_path, selector, "true")
    with open_streams(["stdout"], tty=False) as streams:
        script = "trap '' TERM; echo ready; while :; do sleep 0.01; done"
        pid = start(["/bin/sh", "-c", script], env={}, cwd="/", mark="test", streams=streams)
    assert os.read(streams.others["stdout"], 100) == b"ready\n"
    ours, theirs = socket.socketpair()
    session = Command(ours, container, selector, pid=pid, tty=False)
    session.hang_up(NOW)
    assert session.reconcile(NOW) == NOW + 5
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    session.reconcile(NOW + 5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    session.end(exitCode=137)
    assert json.loads(theirs.recv(100)) == {"exitCode": 137}
    theirs.close()
    os.close(streams.others["stdout"])


def test_a_client_that_reads_nothing_is_detached(tmp_path: Path, selector: selectors.BaseSelector) -> None:
    container = a_container(tmp_path, selector, "head -c 300000 /dev/zero")
    container.execute(NOW)
    ours, theirs = socket.socketpair()
    session = Attachment(ours, container, selector)
    fds: dict[str, int] = {}
    session.copy_output(["stdout"], fds)
    while (stalls_at := session.reconcile(0)) is None:
        for key, _ in selector.select():
            key.data()
    session.reconcile(stalls_at - 0.001)
    assert not session.is_over
    session.reconcile(stalls_at)
    message = {"reason": "Unavailable", "message": f"detached: no output was taken for {STALL_SECONDS:g} s"}
    assert json.loads(theirs.recv(1000)) == message
    theirs.close()
    os.close(fds["stdout"])
    assert container.pid
    while os.waitpid(container.pid, os.WNOHANG) == (0, 0):  # it is held back no more
        for key, _ in selector.select(0):
            key.data()
    container.end(0, NOW)
