"""Pods on a real Slurm: one job each, from submit to end."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from app.core.errors import InvalidRequest
from app.kubernetes.pod import PodReference
from app.runtimes.slurm import SlurmRuntime
from app.runtimes.usage import RunningContainer
from tests.app.runtimes.process import SECRET, Driven, settings, shell
from tests.app.runtimes.process.volumes import files
from tests.app.runtimes.slurm.cluster import SlurmCluster
from tests.app.runtimes.slurm.conftest import Run, annotated
from tests.waiting import eventually


def until_job(cluster: SlurmCluster, state: str) -> None:
    eventually(lambda: state in [found for (found,) in cluster.jobs("%T")])


def test_a_pod_is_one_job(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("echo hello from $WHO", env=[{"name": "WHO", "value": "Slurm"}]), restartPolicy="Never")
    assert pod.until_over().phase == "Succeeded"
    assert pod.log() == [b"hello from Slurm"]
    ((name, comment),) = cluster.jobs("%j", "%k")
    assert name.startswith(f"web-0.{pod.uid}.")
    assert comment == f"virtual-kubelet-web default/web-0 {pod.uid}"


def test_an_exit_code_is_that_of_the_container(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("exit 7"), restartPolicy="Never")
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (7, "Error")
    until_job(cluster, "FAILED")


def test_a_container_has_the_variables_of_its_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_TOKEN", SECRET)
    pod = run(shell("echo $SLURM_JOB_NUM_NODES $PROVIDER_TOKEN"), restartPolicy="Never")
    pod.until_over()
    assert pod.log() == [b"1"]


def test_containers_run_in_order_beside_sidecars(run: Run, tmp_path: Path) -> None:
    said = tmp_path / "said"
    pod = run(
        shell(f"echo main >> {said}"),
        initContainers=[
            shell(f"echo init >> {said}", "first"),
            shell(f"echo sidecar >> {said}; exec sleep 3600", "beside", restartPolicy="Always"),
        ],
        restartPolicy="Never",
    )
    assert pod.until_over().phase == "Succeeded"
    assert said.read_text().split() == ["init", "sidecar", "main"]


def test_a_container_restarts_within_its_job(run: Run, cluster: SlurmCluster, tmp_path: Path) -> None:
    pod = run(shell(f"echo run >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) = 3 ]"), restartPolicy="OnFailure")
    assert pod.until_over().phase == "Succeeded"
    assert pod.container().restart_count == 2
    assert len(cluster.jobs("%i")) == 1


def test_a_pod_that_waits_tells_why(run: Run, cluster: SlurmCluster) -> None:
    everything = {"requests": {"cpu": "64"}}
    running = [run(shell("exec sleep 3600", resources=everything)) for _ in range(2)]
    for pod in running:
        pod.until_running()
    waiting = [run(shell("true", resources=everything), restartPolicy="Never") for _ in range(2)]
    status = waiting[0].until(lambda status: "Resources" in (status.message or ""))
    assert status.phase == "Pending"
    state = status.container_statuses[0].state.waiting
    assert state
    assert (state.reason, state.message) == ("ContainerCreating", status.message)
    running[0].delete(grace=0)
    assert waiting[0].until_over().phase == "Succeeded"
    assert status.message
    assert status.message.startswith("queued in Slurm: Resources")


def test_a_pending_pod_is_deleted_from_the_queue(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("true"), restartPolicy="Never", metadata={"annotations": annotated(flags="hold")})
    pod.until(lambda status: "JobHeldUser" in (status.message or ""))
    pod.delete()
    assert pod.until_over().phase == "Failed"
    assert cluster.jobs("%T") == [["CANCELLED"]]


def test_a_running_pod_gets_sigterm_and_its_grace(run: Run, cluster: SlurmCluster) -> None:
    script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    pod = run(shell(script), restartPolicy="Never")
    pod.until_logged(b"up")
    pod.delete(grace=60)
    assert pod.until_over().phase == "Succeeded"
    assert pod.log()[-1] == b"asked"
    until_job(cluster, "COMPLETED")


def test_a_deaf_pod_is_killed_after_its_grace(run: Run) -> None:
    pod = run(shell("trap '' TERM; echo up; while :; do sleep 0.02; done"), restartPolicy="Never")
    pod.until_logged(b"up")
    pod.delete(grace=0)
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (137, "Error")


def test_a_deadline_ends_a_running_pod(run: Run) -> None:
    pod = run(shell("exec sleep 3600"), activeDeadlineSeconds=2, restartPolicy="Never")
    assert pod.until_over().reason == "DeadlineExceeded"


def test_a_deadline_ends_a_pending_pod(run: Run, cluster: SlurmCluster) -> None:
    pod = run(
        shell("true"),
        activeDeadlineSeconds=1,
        restartPolicy="Never",
        metadata={"annotations": annotated(flags="hold")},
    )
    assert pod.until_over().reason == "DeadlineExceeded"
    assert cluster.jobs("%T") == [["CANCELLED"]]


def test_a_job_that_slurm_cancels_has_failed(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("exec sleep 3600"), restartPolicy="Never")
    pod.until_running()
    cluster.run("scancel", cluster.jobs("%i")[0][0])
    assert pod.until_over().reason == "JobCancelled"
    assert pod.ended() == (143, "Error")


def test_a_node_that_fails_disrupts_its_pods(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("exec sleep 3600"), restartPolicy="Never")
    pod.until_running()
    node = cluster.jobs("%B")[0][0]
    cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    status = pod.until_over()
    assert (status.phase, status.reason) == ("Failed", "NodeFailed")
    assert "DisruptionTarget" in [condition.type for condition in status.conditions if condition.status == "True"]


def test_a_preempted_job_disrupts_its_pod(run: Run) -> None:
    def all_of_n2(partition: str) -> Driven:
        metadata = {"annotations": annotated(partition=partition), "name": partition}
        everything = {"requests": {"cpu": "64"}}
        pod = run(shell("exec sleep 3600", resources=everything), restartPolicy="Never", metadata=metadata)
        pod.until_running()
        return pod

    pod = all_of_n2("small")
    all_of_n2("urgent")
    status = pod.until_over()
    assert (status.phase, status.reason) == ("Failed", "Preempted")
    (why,) = (condition.reason for condition in status.conditions if condition.type == "DisruptionTarget")
    assert why == "PreemptionByScheduler"


def test_a_requeued_job_restarts_its_containers(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("exec sleep 3600"), metadata={"annotations": annotated(flags="requeue")})
    pod.until_running()
    cluster.run("scontrol", "requeue", cluster.jobs("%i")[0][0])
    eventually(lambda: cluster.jobs("%T", "%r") == [["PENDING", "BeginTime"]])
    assert pod.read().phase == "Running"
    # A slurmd refuses a job that starts in the second of its last kill; by itself, Slurm waits two minutes.
    cluster.run("scontrol", "update", f"JobId={cluster.jobs('%i')[0][0]}", "StartTime=now+1")
    pod.until(lambda status: pod.container().restart_count == 1 and status.phase == "Running")


def test_an_option_that_slurm_refuses_is_told(run: Run, cluster: SlurmCluster) -> None:
    pod = run(shell("true"), restartPolicy="Never", metadata={"annotations": annotated(partition="nowhere")})
    status = pod.until(lambda status: status.message)
    assert status.phase == "Pending"
    assert status.message == "Slurm refuses the job: Invalid partition name specified"
    assert cluster.jobs("%i") == []
    pod.delete()
    pod.until(lambda status: status.is_terminal)


def test_annotations_choose_nodes(run: Run, cluster: SlurmCluster) -> None:
    pods = [
        run(shell("exec sleep 3600"), metadata={"annotations": annotated(**choice), "name": f"web-{number}"})
        for number, choice in enumerate(({"constraint": "fast"}, {"partition": "small"}))
    ]
    for pod in pods:
        pod.until_running()
    assert sorted(cluster.jobs("%B", "%P")) == [["n1", "main"], ["n2", "small"]]


def test_a_pod_that_waits_for_an_object_is_no_job(run: Run, cluster: SlurmCluster) -> None:
    reference = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "later", "key": "password"}}}
    pod = run(shell("echo $PASSWORD", env=[reference]), restartPolicy="Never")
    pod.until(
        lambda _: (
            (waiting := pod.container("web").state.waiting) and waiting.reason == "CreateContainerConfigError"
        )
    )
    assert cluster.jobs("%i") == []
    pod.change(containers=[shell("echo $PASSWORD", env=[{"name": "PASSWORD", "value": SECRET}])])
    assert pod.until_over().phase == "Succeeded"
    assert pod.log() == [SECRET.encode()]
    assert not (pod.directory.path / "plan.json").exists()


def test_an_update_of_resources_is_refused(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    with pytest.raises(InvalidRequest, match="a job cannot be changed"):
        pod.change(containers=[shell("exec sleep 3600", resources={"requests": {"cpu": "2"}})])


def test_extended_resources_are_reserved(run: Run, cluster: SlurmCluster) -> None:
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    run(shell("exec sleep 3600", resources=limits)).until_running()
    other = run(shell("exec sleep 3600", resources=limits))
    other.until(lambda status: "Resources" in (status.message or ""))
    jobs = cluster.jobs("%b", "%B")
    assert ["gres:gpu:2", "n1"] in jobs or ["gres/gpu:2", "n1"] in jobs  # as written since Slurm 23.11


def test_an_ephemeral_container_joins_a_running_job(run: Run) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    pod.change(ephemeralContainers=[shell("echo looking", "debug")])
    pod.until(lambda _: pod.container("debug").state.terminated)
    assert pod.log("debug") == [b"looking"]


def test_usage_is_that_of_the_shim(run: Run, runtime: SlurmRuntime) -> None:
    pod = run(shell("exec sleep 3600"))
    pod.until_running()
    usage = runtime.usage(pod.pod)
    usage.prepare()

    def measured() -> int | None:
        found = usage.containers(RunningContainer.of(pod.status), at=pod.timeline[-1].effective_at, history=None)
        return found[0].memory.working_set_bytes if found else None

    assert eventually(measured) > 0


def test_files_of_a_deleted_pod_are_removed(run: Run) -> None:
    pod = run(shell("true"), restartPolicy="Never")
    pod.until_over()
    pod.delete()
    pod.read(after=timedelta(hours=1))
    assert not pod.directory.path.exists()


def test_every_pod_of_a_job_runs_once(runtime: SlurmRuntime, cluster: SlurmCluster, tmp_path: Path) -> None:
    pods = [
        Driven(runtime, shell(f"echo {number} >> {tmp_path}/runs"), restartPolicy="Never") for number in range(50)
    ]
    for pod in pods:
        pod.sync()
    for pod in pods:
        assert pod.until_over().phase == "Succeeded"
    assert sorted(map(int, (tmp_path / "runs").read_text().split())) == list(range(50))
    assert {node for (node,) in cluster.jobs("%B")} <= {"n1", "n2"}


def test_states_are_read_once_for_all_pods(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Patient(SlurmRuntime):
        queue_age = timedelta(hours=1)

    runtimes = [Patient(settings(tmp_path / "shared", slurm_python=sys.executable)) for _ in range(2)]
    pods = [Driven(runtimes[number % 2], shell("exec sleep 3600")) for number in range(10)]
    for pod in pods:
        pod.sync()
    asked = tmp_path / "asked"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text(f'#!/bin/sh\necho x >> {asked}\nexec /usr/bin/squeue "$@"\n')
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{cluster.environment['PATH']}")
    for pod in pods:
        pod.read()
    assert asked.read_text().split() == ["x"]


def test_files_of_volumes_reach_the_job(runtime: SlurmRuntime, tmp_path: Path) -> None:
    mount = {"name": "config", "mountPath": "/etc"}
    pod = Driven(
        runtime,
        shell("cat ${VOLUME_CONFIG:-/etc}/greeting", volumeMounts=[mount]),
        volumes=[{"name": "config", "configMap": {"name": "config"}}],
        restartPolicy="Never",
    )
    runtime.put_volumes(PodReference("default", "web-0", pod.uid), [files(greeting="hello")])
    pod.sync()
    assert pod.until_over().phase == "Succeeded"
    assert pod.log() == [b"hello"]
    assert not list(tmp_path.glob("shared/*/volumes/*"))
