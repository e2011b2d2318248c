"""Killed controllers, providers and shims: every pod runs once, and tells how it ended."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.runtimes.slurm import SlurmRuntime
from app.runtimes.slurm.commands import SlurmError
from app.runtimes.slurm.job_queue import JobQueue
from tests.app.runtimes.process import Driven, settings, shell, the_shim
from tests.app.runtimes.slurm.cluster import SlurmCluster
from tests.app.runtimes.slurm.conftest import MakeRuntime, Run, annotated, ready
from tests.waiting import eventually

KILL = "${SBATCH_FAULT:-false} && kill -9 $PPID"
"""Kills the provider of :func:`until_killed`, and never the process of the tests."""


def once(runs: Path) -> str:
    """Return a script that shows how often it has run."""
    return f"echo run >> {runs}"


def until_killed(directory: Path, uid: str, at: datetime, script: str) -> None:
    """Run a provider that is killed while it submits a pod."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest"])
    environment = {**os.environ, "SBATCH_FAULT": "true"}
    provider = context.Process(target=submit, args=(environment, directory, uid, at, script))
    provider.start()
    provider.join()
    assert provider.exitcode == -signal.SIGKILL


def submit(environment: dict[str, str], directory: Path, uid: str, at: datetime, script: str) -> None:
    """Submit one pod as a provider that has an environment."""
    os.environ.update(environment)
    runtime = SlurmRuntime(settings(directory, slurm_python=sys.executable))
    Driven(runtime, shell(script), uid=uid, restartPolicy="Never", accepted_at=at).sync()


FakeSbatch = Callable[[str], None]


@pytest.fixture
def fake_sbatch(cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSbatch:
    """Return a function that puts a script in the place of sbatch."""

    def fake(script: str) -> None:
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "sbatch").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "sbatch").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{cluster.environment['PATH']}")

    return fake


@pytest.mark.parametrize(
    "step",
    [KILL, f'/usr/bin/sbatch "$@"; {KILL}', f'{KILL}; exec /usr/bin/sbatch "$@"'],
    ids=["before the submit", "after the submit", "during the submit"],
)
def test_a_provider_killed_while_it_submits(
    step: str, fake_sbatch: FakeSbatch, cluster: SlurmCluster, make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    fake_sbatch(step)
    at, uid, script = datetime.now(UTC), "6f1c", once(tmp_path / "runs")
    until_killed(tmp_path / "shared", uid, at, script)
    (tmp_path / "bin" / "sbatch").unlink()
    pod = Driven(make_runtime(), shell(script), uid=uid, restartPolicy="Never", accepted_at=at)
    assert pod.until_over().phase == "Succeeded"
    assert (tmp_path / "runs").read_text() == "run\n"
    assert len(cluster.jobs("%T")) == 1


def test_a_submit_under_way_is_waited_for(
    fake_sbatch: FakeSbatch, cluster: SlurmCluster, make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    fake_sbatch(f'{KILL}; until [ -e {tmp_path}/go ]; do sleep 0.01; done; exec /usr/bin/sbatch "$@"')
    at, uid, script = datetime.now(UTC), "6f1c", once(tmp_path / "runs")
    until_killed(tmp_path / "shared", uid, at, script)
    pod = Driven(make_runtime(), shell(script), uid=uid, restartPolicy="Never", accepted_at=at)
    for _ in range(3):
        assert pod.read().phase == "Pending"
    assert cluster.jobs("%i") == []
    (tmp_path / "go").touch()
    assert pod.until_over().phase == "Succeeded"
    assert (tmp_path / "runs").read_text() == "run\n"
    assert len(cluster.jobs("%T")) == 1


def test_a_submit_whose_answer_is_lost_is_made_again_at_once(
    fake_sbatch: FakeSbatch, run: Run, cluster: SlurmCluster, tmp_path: Path
) -> None:
    error = "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received"
    fake_sbatch(f'mkdir {tmp_path}/lost && echo "{error}" >&2 && exit 1; exec /usr/bin/sbatch "$@"')
    pod = run(shell(once(tmp_path / "runs")), restartPolicy="Never")
    assert pod.until_over().phase == "Succeeded"
    assert [status.message for _, status in pod.timeline if "refuses" in (status.message or "")] == []
    assert len(cluster.jobs("%T")) == 1


def test_a_second_job_of_a_pod_runs_nothing(run: Run, cluster: SlurmCluster, tmp_path: Path) -> None:
    pod = run(shell(f"{once(tmp_path / 'runs')}; exec sleep 3600"), restartPolicy="Never")
    pod.until_running()
    job = cluster.jobs("%i", "%j")[0]
    script = tmp_path / "script"
    cluster.run("scontrol", "write", "batch_script", job[0], str(script))
    cluster.run("sbatch", f"--job-name={job[1]}", f"--chdir={next(tmp_path.glob('shared/.shim-*'))}", str(script))
    eventually(lambda: sorted(cluster.jobs("%T")) in ([["CANCELLED"], ["RUNNING"]], [["FAILED"], ["RUNNING"]]))
    assert pod.read().phase == "Running"
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.usefixtures("own_cluster")
def test_a_controller_killed_amid_submits(runtime: SlurmRuntime, cluster: SlurmCluster, tmp_path: Path) -> None:
    pods = [
        Driven(runtime, shell(f"echo {number} >> {tmp_path}/runs"), restartPolicy="Never") for number in range(12)
    ]
    # Slurm gives the ID of a job that it has lost to another one, and cancels that if the first has been started.
    cluster.run("scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=test")
    for number, pod in enumerate(pods):
        if number == 6:
            cluster.kill_controller()
        if number < 8:  # two of them are not answered
            pod.sync()
    cluster.start_controller()
    cluster.run("scontrol", "update", "NodeName=n[1-2]", "State=RESUME", check=False)
    eventually(lambda: [pod.read().phase for pod in pods] == ["Succeeded"] * len(pods))
    assert sorted(map(int, (tmp_path / "runs").read_text().split())) == list(range(12))


@pytest.mark.usefixtures("own_cluster")
def test_a_job_lost_by_the_controller_comes_back(run: Run, cluster: SlurmCluster, tmp_path: Path) -> None:
    pod = run(
        shell(once(tmp_path / "runs")), restartPolicy="Never", metadata={"annotations": annotated(flags="hold")}
    )
    pod.until(lambda status: "JobHeldUser" in (status.message or ""))
    cluster.kill_controller()
    cluster.start_controller(lose_jobs=True)
    pod.until(lambda _: cluster.jobs("%j"))
    cluster.run("scontrol", "release", cluster.jobs("%i")[0][0])
    assert pod.until_over().phase == "Succeeded"
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.usefixtures("own_cluster")
def test_pods_keep_their_statuses_without_a_controller(
    run: Run, runtime: SlurmRuntime, cluster: SlurmCluster, tmp_path: Path
) -> None:
    pod = run(shell(f"until [ -e {tmp_path}/go ]; do sleep 0.02; done"), restartPolicy="Never")
    running = pod.until_running()
    cluster.kill_controller()
    assert ready(runtime)["status"] == "False"
    with pytest.raises(SlurmError):  # the answer from before, which all readers share, is replaced
        JobQueue(runtime.settings.runtime_directory, max_age=0, users=(os.getuid(),)).read()
    (tmp_path / "go").touch()
    eventually(lambda: "true" in (pod.directory.path / "state.json").read_text())
    assert pod.read() == running
    cluster.start_controller()
    assert pod.until_over().phase == "Succeeded"


def test_a_killed_shim_fails_its_pod(run: Run, tmp_path: Path) -> None:
    pod = run(shell("exec sleep 3600"), restartPolicy="Never")
    pod.until_running()
    os.kill(the_shim(pod.directory.path), signal.SIGKILL)
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (137, "ContainerStatusUnknown")


def test_a_shim_that_does_not_start_fails_its_pod(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(slurm_python="/nowhere/python3")
    pod = Driven(runtime, shell("true"), restartPolicy="Never")
    pod.sync()
    status = pod.until_over()
    assert (status.phase, status.reason) == ("Failed", "JobFailed")
    assert "not found" in (pod.directory.path / "job.log").read_text()


def test_a_lost_database_stops_the_earlier_job(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("exec sleep 3600"), restartPolicy="Never")
    pod.until_running()
    again = pod.again()
    again.sync()
    again.until_running()
    assert sorted(state for (state,) in cluster.jobs("%T"))[1] == "RUNNING"
