"""Killed processes, concurrent starts and full disks: no container runs twice, and every run is reported."""

import json
import os
import shutil
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.runtimes.process import ProcessRuntime
from app.runtimes.process.pod_dir import _SHIM
from tests.app.runtimes.process import Driven, QuickRuntime, processes, settings, shell, shims, the_shim
from tests.app.runtimes.process.conftest import Run
from tests.app.simulation import reason_of
from tests.waiting import eventually, together, together_in_processes


def kill_shim(pod: Driven) -> None:
    os.kill(the_shim(pod.directory.path), signal.SIGKILL)
    eventually(lambda: not shims(pod.directory.path))


def runs(path: Path) -> int:
    return len((path / "runs").read_text().splitlines())


def test_killing_a_shim_kills_its_container(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    kill_shim(pod)
    eventually(lambda: not processes(pod.directory.mark))


def test_a_killed_shim_fails_a_pod_without_restarts(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"echo run >> {tmp_path}/runs; setsid sleep 3600 & exec sleep 3600"), restartPolicy="Never")
    pod.until(lambda _: len(processes(pod.directory.mark)) == 2)
    kill_shim(pod)
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (137, "ContainerStatusUnknown")
    assert processes(pod.directory.mark) == []  # including the one that called setsid
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
def test_after_a_killed_shim_the_restart_policy_applies(run: Run, tmp_path: Path, policy: str) -> None:
    pod = run(shell(f"echo run >> {tmp_path}/runs; exec sleep 3600"), restartPolicy=policy)
    pod.until_running()
    eventually(lambda: len(processes(pod.directory.mark)) == 1 and (tmp_path / "runs").exists())
    kill_shim(pod)
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    lost = pod.container().last_state.terminated
    assert lost
    assert (lost.exit_code, lost.reason) == (137, "ContainerStatusUnknown")
    eventually(lambda: runs(tmp_path) == 2)
    assert len(processes(pod.directory.mark)) == 1


def test_finished_init_containers_survive_a_killed_shim(run: Run, tmp_path: Path) -> None:
    init = shell(f"echo run >> {tmp_path}/runs", "first")
    pod = run(shell("exec sleep 3600"), initContainers=[init])
    pod.until_running()
    kill_shim(pod)
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    assert runs(tmp_path) == 1


def test_a_deleted_pod_ends_without_its_shim(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    pod.delete(sync=False)
    kill_shim(pod)
    assert pod.until_over().phase == "Failed"
    assert pod.container().restart_count == 0


def test_a_shim_stopped_by_sigterm_hands_over(run: Run) -> None:
    """Kill all processes of a pod, as a machine that stops does."""
    pod = run(shell("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done"), restartPolicy="OnFailure")
    pod.until_logged(b"ready")
    os.kill(the_shim(pod.directory.path), signal.SIGTERM)
    eventually(lambda: not shims(pod.directory.path))
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    before = pod.container().last_state.terminated
    assert before
    assert before.exit_code == 5


def test_a_lost_start_is_repeated_by_advance(runtime: ProcessRuntime) -> None:
    pod = Driven(runtime, shell("exit 0"), restartPolicy="Never")
    assert pod.until_over().phase == "Succeeded"


def test_a_shim_whose_starter_was_killed_does_nothing(runtime: ProcessRuntime, tmp_path: Path) -> None:
    pod = Driven(runtime, shell(f"echo run >> {tmp_path}/runs"), restartPolicy="Never")
    pod.directory.path.mkdir(parents=True)
    half = b'{"mark": "'
    done = subprocess.run(
        [*_SHIM, str(pod.directory.path), "0"],
        input=half,
        env={"PYTHONPATH": str(Path(__file__).parents[4] / "app/runtimes/process")},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"the plan is incomplete\n")
    assert pod.until_over().phase == "Succeeded"
    assert runs(tmp_path) == 1


def test_concurrent_threads_start_a_pod_once(runtime: ProcessRuntime, tmp_path: Path) -> None:
    pod = Driven(runtime, shell(f"echo run >> {tmp_path}/runs"), restartPolicy="Never")
    together(8, lambda _: pod.sync())
    pod.until_over()
    assert runs(tmp_path) == 1


def start(number: int, argument: str) -> int:
    """Start a pod and read it until it has ended; run in a separate process."""
    given = json.loads(argument)
    pod = Driven(
        QuickRuntime(settings(Path(given["root"]))),
        shell(given["script"]),
        uid=given["uid"],
        accepted_at=datetime.fromisoformat(given["accepted_at"]),
        restartPolicy="Never",
    )
    pod.sync()
    pod.until_over()
    return os.getpid()


def test_concurrent_processes_start_a_pod_once(root: Path, tmp_path: Path) -> None:
    script = f"echo run >> {tmp_path}/runs"
    argument = {
        "root": str(root),
        "script": script,
        "uid": "6f1c9f0e-2d8b-4a3c-9a44-0b8c5d1e7f20",
        "accepted_at": "2026-11-22T08:46:38+00:00",
    }
    assert len(set(together_in_processes(4, start, json.dumps(argument)))) == 4
    assert runs(tmp_path) == 1


def test_a_pod_without_state_file_has_failed(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"echo run >> {tmp_path}/runs; exec sleep 3600"), restartPolicy="Always")
    pod.until_running()
    eventually((tmp_path / "runs").exists)
    kill_shim(pod)
    shutil.rmtree(pod.directory.path)
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (137, "ContainerStatusUnknown")
    assert runs(tmp_path) == 1


def test_a_missing_directory_is_reported_and_retried(runtime: ProcessRuntime, root: Path) -> None:
    pod = Driven(runtime, shell("exit 0"), restartPolicy="Never")
    in_the_way = root / pod.uid
    in_the_way.touch()
    for _ in range(2):
        pod.read()
    assert [reason_of(status) for _, status in pod.timeline] == ["ContainerCreating", "CreateContainerError"]
    waiting = pod.container().state.waiting
    assert waiting
    assert waiting.message == f"{pod.directory.path}/state.json: Not a directory"
    in_the_way.unlink()
    assert pod.until_over().phase == "Succeeded"


def test_a_shim_that_cannot_start_reports_why(runtime: ProcessRuntime, tmp_path: Path) -> None:
    pod = Driven(runtime, shell(f"echo run >> {tmp_path}/runs"), restartPolicy="Never")
    bell = pod.directory.path / "stop.fifo"
    bell.mkdir(parents=True)
    waiting = (
        pod.until(lambda status: reason_of(status) == "CreateContainerError").container_statuses[0].state.waiting
    )
    assert waiting
    assert waiting.message == f"{pod.directory.path}: Is a directory"
    assert not (tmp_path / "runs").exists()
    bell.rmdir()
    assert pod.until_over().phase == "Succeeded"


def test_a_shim_retries_a_failed_write(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"), restartPolicy="Never")
    pod.until_running()
    aside = pod.directory.path.with_name("aside")
    pod.directory.path.rename(aside)
    (tmp_path / "go").touch()
    eventually(lambda: b"cannot save the state" in (aside / "shim.log").read_bytes())
    aside.rename(pod.directory.path)
    assert pod.until_over().phase == "Succeeded"


def test_a_damaged_state_file_starts_nothing(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"echo run >> {tmp_path}/runs; exec sleep 3600"), restartPolicy="Never")
    before = pod.until_running()
    (pod.directory.path / "state.json").write_text("{")
    assert pod.read() == before
    assert pod.read(after=timedelta(seconds=1)) == before


def test_an_unusable_runtime_directory_stops_startup(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as refusal:
        ProcessRuntime(settings(tmp_path / "file" / "runtime"))
    assert str(refusal.value) == f"RUNTIME_DIRECTORY: {tmp_path}/file/runtime: Not a directory"
