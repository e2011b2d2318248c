"""The phase of a pod by its containers, as computed by a kubelet."""

import pytest

from app.kubernetes.phase import ContainerPair, pod_phase
from app.kubernetes.pod import Container, PodSpec
from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)

NEVER = ContainerState()
WAITING = ContainerState(waiting=ContainerStateWaiting("ContainerCreating"))
RUNNING = ContainerState(running=ContainerStateRunning("2026-11-22T08:46:38Z"))
DONE = ContainerState(terminated=ContainerStateTerminated(exit_code=0, reason="Completed"))
FAILED = ContainerState(terminated=ContainerStateTerminated(exit_code=1, reason="Error"))


def pair(
    state: ContainerState, last: ContainerState = NEVER, *, started: bool = True, sidecar: bool = False
) -> ContainerPair:
    status = ContainerStatus(
        name="c",
        state=state,
        last_state=last,
        ready=False,
        restart_count=0,
        image="",
        image_id="",
        container_id="synthetic://1" if state is not WAITING or last is not NEVER else None,
        started=started and state is RUNNING,
    )
    return Container(name="c", restart_policy="Always" if sidecar else None), status


@pytest.mark.parametrize(
    ("policy", "init", "regular", "expected"),
    [
        ("Always", [], [pair(WAITING)], "Pending"),
        ("Always", [], [pair(RUNNING)], "Running"),
        ("Always", [], [pair(RUNNING), pair(WAITING)], "Pending"),
        ("Always", [], [pair(WAITING, FAILED)], "Running"),
        ("Always", [], [pair(FAILED)], "Running"),
        ("Always", [], [pair(DONE)], "Running"),
        ("OnFailure", [], [pair(DONE)], "Succeeded"),
        ("OnFailure", [], [pair(FAILED)], "Running"),
        ("OnFailure", [], [pair(WAITING, FAILED), pair(DONE)], "Running"),
        ("Never", [], [pair(DONE), pair(DONE)], "Succeeded"),
        ("Never", [], [pair(DONE), pair(FAILED)], "Failed"),
        ("Never", [], [pair(RUNNING), pair(FAILED)], "Running"),
        ("Never", [pair(RUNNING)], [pair(WAITING)], "Pending"),
        ("Never", [pair(DONE)], [pair(RUNNING)], "Running"),
        ("Never", [pair(FAILED)], [pair(WAITING)], "Failed"),
        ("Always", [pair(FAILED)], [pair(WAITING)], "Pending"),
        ("Always", [pair(WAITING, FAILED)], [pair(WAITING)], "Pending"),
        ("Always", [pair(RUNNING, started=False, sidecar=True)], [pair(WAITING)], "Pending"),
        ("Always", [pair(RUNNING, sidecar=True)], [pair(RUNNING)], "Running"),
        ("Always", [pair(WAITING, FAILED, sidecar=True)], [pair(RUNNING)], "Running"),
        ("Never", [pair(RUNNING, sidecar=True)], [pair(DONE)], "Running"),
        ("Never", [pair(DONE, sidecar=True)], [pair(DONE)], "Succeeded"),
        ("Never", [pair(FAILED, sidecar=True)], [pair(DONE)], "Succeeded"),
    ],
)
def test_the_phase_is_that_of_the_containers(
    policy: str, init: list[ContainerPair], regular: list[ContainerPair], expected: str
) -> None:
    spec = PodSpec(containers=[container for container, _ in regular], restart_policy=policy)
    assert pod_phase(spec, init=init, regular=regular) == expected
