"""Ephemeral containers are added to a pod that runs, as by `kubectl debug`: they run once, beside the others."""

import os
import signal
from pathlib import Path

import pytest

from app.core.errors import InvalidRequest
from tests.app.runtimes.process import Driven, processes, shell, shims, the_shim
from tests.app.runtimes.process.conftest import Run
from tests.sessions import finish, read_until
from tests.waiting import eventually


@pytest.fixture
def pod(run: Run) -> Driven:
    """Return a running pod."""
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    return pod


def ended(pod: Driven) -> tuple[int, str | None]:
    """Return the exit code and the reason of the ephemeral container, once it has ended."""
    pod.until(lambda _: pod.container("debug").state.terminated)
    return pod.ended("debug")


def test_an_added_container_runs_once(pod: Driven) -> None:
    pod.change(ephemeralContainers=[shell("echo hello; exit 3", "debug")])
    waiting = pod.container("debug")
    assert waiting.state.waiting
    assert waiting.state.waiting.reason == "ContainerCreating"
    assert ended(pod) == (3, "Error")
    assert pod.status.phase == "Running"
    debug = pod.container("debug")
    assert (debug.restart_count, debug.ready, debug.started) == (0, False, None)
    assert (debug.container_id or "").startswith("process://")
    assert pod.log("debug") == [b"hello"]
    assert [status.name for status in pod.status.ephemeral_container_statuses] == ["debug"]
    assert [status.name for status in pod.status.container_statuses] == ["web"]


def test_an_added_shell_is_attached_to(pod: Driven) -> None:
    pod.change(ephemeralContainers=[{"name": "debug", "image": "busybox", "stdin": True, "tty": True}])
    pod.until(lambda _: pod.container("debug").state.running)
    session = pod.attach("debug", stdin=True, stdout=True, tty=True)
    assert session.stdin is not None
    os.write(session.stdin, b"echo $((6 * 7))\n")
    assert b"42\r\n" in read_until(session.stdout, b"42\r\n")
    assert finish(pod.exec("true", container="debug")).code == 0
    os.write(session.stdin, b"exit 5\n")
    os.close(session.stdin)
    finish(session)
    assert ended(pod) == (5, "Error")


def test_it_starts_before_init_containers_succeed(run: Run) -> None:
    pod = run(shell("exit 0"), initContainers=[shell("exec sleep 3600", "init")])
    pod.change(ephemeralContainers=[shell("exit 0", "debug")])
    assert ended(pod) == (0, "Completed")
    assert pod.status.phase == "Pending"


def test_it_ends_with_its_pod(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"), restartPolicy="Never")
    pod.change(ephemeralContainers=[shell("exec sleep 3600", "debug")])
    pod.until(lambda _: pod.container("debug").state.running)
    (tmp_path / "go").touch()
    assert pod.until_over().phase == "Succeeded"
    assert ended(pod) == (143, "Error")


def test_a_killed_shim_does_not_repeat_it(pod: Driven, tmp_path: Path) -> None:
    pod.change(ephemeralContainers=[shell(f"echo run >> {tmp_path}/runs; exec sleep 3600", "debug")])
    pod.until(lambda _: pod.container("debug").state.running and (tmp_path / "runs").exists())
    os.kill(the_shim(pod.directory.path), signal.SIGKILL)
    eventually(lambda: not shims(pod.directory.path))
    assert ended(pod) == (137, "ContainerStatusUnknown")
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    eventually(lambda: len(processes(pod.directory.mark)) == 1)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_missed_addition_is_repeated_by_advance(pod: Driven) -> None:
    pod.change(ephemeralContainers=[shell("exit 0", "debug")], sync=False)
    assert ended(pod) == (0, "Completed")


def test_a_restart_of_all_containers_spares_it(run: Run, tmp_path: Path) -> None:
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}]
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done; rm {tmp_path}/go; exit 7"
    pod = run(shell(script, restartPolicy="Never", restartPolicyRules=rules))
    pod.change(ephemeralContainers=[shell("exec sleep 3600", "debug")])
    pod.until(lambda _: pod.container("debug").state.running)
    (tmp_path / "go").touch()
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    assert pod.container("debug").state.running


@pytest.mark.parametrize("containers", [[], [shell("true", "debug")]])
def test_one_that_runs_cannot_be_changed(pod: Driven, containers: list[object]) -> None:
    pod.change(ephemeralContainers=[shell("exec sleep 3600", "debug")])
    with pytest.raises(InvalidRequest):
        pod.change(ephemeralContainers=containers)
