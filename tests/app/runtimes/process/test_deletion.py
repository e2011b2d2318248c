"""Deletion of pods of processes: every process ends, and its end is recorded."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from app.runtimes.process import ProcessRuntime
from app.runtimes.process.shim.record import StopRequest
from tests.app.runtimes.process import Driven, QuickRuntime, processes, settings, shell, shims
from tests.app.runtimes.process.conftest import Run
from tests.waiting import eventually

FOR_EVER = "while :; do sleep 0.01; done"


def test_a_graceful_exit_keeps_its_exit_code(run: Run) -> None:
    pod = run(shell(f"trap 'echo bye; exit 7' TERM; echo ready; {FOR_EVER}"))
    pod.until_logged(b"ready")
    pod.read()
    pod.delete()
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (7, "Error")
    assert pod.log()[-1] == b"bye"


def test_a_container_is_killed_after_its_grace_period(run: Run) -> None:
    pod = run(shell(f"trap '' TERM; echo ready; {FOR_EVER}"), terminationGracePeriodSeconds=3600)
    pod.until_logged(b"ready")
    pod.delete(grace=0.1)
    pod.until_over()
    assert pod.ended() == (137, "Error")


def test_sigterm_comes_first_without_a_grace_period(run: Run) -> None:
    pod = run(shell(f"trap 'exit 7' TERM; echo ready; {FOR_EVER}"))
    pod.until_logged(b"ready")
    pod.delete(grace=0)
    pod.until_over()
    assert pod.ended() == (7, "Error")


def test_a_deleted_pod_restarts_no_container(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"trap 'exit 0' TERM; echo run >> {tmp_path}/runs; {FOR_EVER}"), restartPolicy="Always")
    eventually((tmp_path / "runs").exists)
    pod.delete()
    assert pod.until_over().phase == "Succeeded"
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize(
    "grandchild",
    [
        pytest.param("sh -c 'trap \"\" TERM; while :; do sleep 1; done'", id="ignores SIGTERM"),
        pytest.param("setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done'", id="has a session of its own"),
        pytest.param("sh -c 'setsid sh -c \"sleep 3600; :\" & exit 0'", id="has lost its parent"),
        pytest.param("env -i sh -c 'sleep 3600; :'", id="has cleared its environment"),
        pytest.param("env -i setsid sh -c 'sleep 3600; :'", id="has done both"),
    ],
)
def test_deletion_kills_all_descendant_processes(run: Run, tmp_path: Path, grandchild: str) -> None:
    """Yield a pipe that all processes of the pod hold open; it ends when the last of them has ended."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pod = run(
        shell(f"exec 9> {pipe}; {grandchild} & echo started; exec sleep 3600"),
        terminationGracePeriodSeconds=0,
    )
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    pod.until_logged(b"started")
    assert not is_at_its_end(reading)
    pod.delete()
    pod.until_over()
    assert is_at_its_end(reading)
    os.close(reading)


def is_at_its_end(reading: int) -> bool:
    """Return whether no process has a pipe open for writing."""
    try:
        return os.read(reading, 1) == b""
    except BlockingIOError:
        return False


def test_only_its_own_stray_processes_are_killed(run: Run) -> None:
    pod = run(
        shell("sleep 3600 & setsid sleep 3600 & exit 0", "leaver"),
        shell("setsid sleep 3600 & exec sleep 3600", "other"),
        restartPolicy="Never",
    )
    pod.until(lambda _: pod.container("leaver").state.terminated)
    assert processes(f"{pod.directory.mark}leaver") == []
    eventually(lambda: len(processes(f"{pod.directory.mark}other")) == 2)


@pytest.mark.parametrize(
    ("stop", "remaining"),
    [
        (StopRequest(at=100 * 10**6, grace=30, reason=None), 20),
        (StopRequest(at=100 * 10**6, grace=5, reason=None), 0),
        (StopRequest(at=200 * 10**6, grace=30, reason=None), 30),
    ],
    ids=["passed in part", "passed", "a clock that is behind"],
)
def test_a_restarted_shim_adds_no_grace(stop: StopRequest, remaining: float) -> None:
    assert stop.is_due(110)
    assert stop.remaining_grace(110) == remaining


def test_a_shim_exits_with_its_pod(run: Run, root: Path) -> None:
    pod = run(shell("exit 0"), restartPolicy="Never")
    pod.until_over()
    eventually(lambda: not shims(root))


def test_a_pod_deleted_before_its_start_never_runs(runtime: ProcessRuntime, tmp_path: Path) -> None:
    pod = Driven(runtime, shell(f"touch {tmp_path}/ran"))
    live = pod.pod
    pod.delete()
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (137, "ContainerStatusUnknown")
    runtime.sync(live)  # of the create, which is late
    eventually(lambda: not pod.directory.has_shim)
    assert not (tmp_path / "ran").exists()


def test_a_lost_deletion_is_repeated_by_advance(run: Run) -> None:
    pod = run(shell("sleep 60"))
    pod.until_running()
    pod.delete(sync=False)
    pod.until_over()
    assert pod.ended() == (143, "Error")


def test_deleting_a_finished_pod_changes_nothing(run: Run) -> None:
    pod = run(shell("exit 3"), restartPolicy="Never")
    before = pod.until_over()
    pod.delete()
    assert pod.read() == before


def test_files_of_a_deleted_pod_are_removed_later(run: Run, root: Path) -> None:
    pod = run(shell("exit 0"), restartPolicy="Never")
    pod.until_over()
    pod.delete()
    timeline = list(pod.timeline)
    eventually(lambda: not pod.directory.has_shim)
    pod.read(after=timedelta(minutes=9))
    assert pod.directory.path.exists()
    pod.runtime = QuickRuntime(settings(root))
    pod.read(after=timedelta(minutes=11))
    assert list(root.iterdir()) == []
    assert pod.continues_at is None
    assert pod.timeline == timeline


def test_a_recreated_pod_waits_for_its_predecessor(run: Run, tmp_path: Path) -> None:
    script = (
        f"mkdir {tmp_path}/alone || exit 9; trap 'rmdir {tmp_path}/alone; exit 0' TERM; echo ready; {FOR_EVER}"
    )
    first = run(shell(script), restartPolicy="Never")
    first.until_logged(b"ready")
    first.delete()
    second = first.again()
    second.sync()
    second.until_running()
    second.until_logged(b"ready")
    assert second.read().phase == "Running"
    assert not first.directory.path.exists()


def test_a_forgotten_predecessor_is_stopped(run: Run) -> None:
    """Create the pod again from the cluster, after the loss of the database."""
    first = run(shell("echo $HOSTNAME; exec sleep 60"), restartPolicy="Never")
    first.until_running()
    second = first.again()
    second.sync()
    second.until_running()
    eventually(lambda: len(processes(second.directory.mark)) == 1)


def test_a_call_for_a_predecessor_does_nothing(run: Run, root: Path) -> None:
    first = run(shell("exec sleep 60"), restartPolicy="Never", terminationGracePeriodSeconds=0)
    first.until_running()
    late = first.pod
    first.delete()
    second = first.again()
    second.until_running()
    running = eventually(lambda: processes(second.directory.mark))
    first.runtime.sync(late)
    first.sync()
    assert processes(second.directory.mark) == running
    assert second.read().phase == "Running"


def test_a_late_call_for_a_predecessor_does_nothing(run: Run, tmp_path: Path) -> None:
    first = run(shell(f"echo run >> {tmp_path}/runs"), restartPolicy="Never")
    first.until_over()
    second = first.again()
    second.until_over()
    eventually(lambda: not second.directory.has_shim)
    first.sync()
    eventually(lambda: not second.directory.has_shim)
    assert second.directory.observations()
    assert (tmp_path / "runs").read_text() == "run\nrun\n"
