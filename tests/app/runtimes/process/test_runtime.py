"""The timeline of a pod whose containers are processes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.kubernetes.status import PodStatus, encode_status
from tests.app.runtimes.process import shell
from tests.app.runtimes.process.conftest import Run
from tests.app.runtimes.status_shape import check_shape
from tests.app.simulation import reason_of
from tests.waiting import eventually


def ready(status: PodStatus) -> dict[str, tuple[str, str | None]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def test_a_pod_goes_from_pending_to_succeeded(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"), restartPolicy="Never")
    assert pod.status.phase == "Pending"
    waiting = pod.container().state.waiting
    assert waiting
    assert waiting.reason == "ContainerCreating"
    pod.until_running()
    assert ready(pod.status)["Ready"] == ("True", None)
    (tmp_path / "go").touch()
    assert pod.until_over().phase == "Succeeded"
    assert pod.ended() == (0, "Completed")
    assert ready(pod.status)["Ready"] == ("False", "PodCompleted")
    assert [status.phase for _, status in pod.timeline] == ["Pending", "Pending", "Running", "Succeeded"]
    assert pod.continues_at is None


def test_every_status_has_the_reference_shape(run: Run) -> None:
    pod = run(
        shell("exit 3"),
        shell("exit 0", "other"),
        initContainers=[shell("exit 0", "first"), shell("sleep 60", "sidecar", restartPolicy="Always")],
        restartPolicy="Never",
        terminationGracePeriodSeconds=0,
    )
    pod.until_over()
    for _, status in pod.timeline:
        check_shape(encode_status(status))
    for before, after in pairwise(pod.timeline):
        assert before.effective_at < after.effective_at
        assert before.status != after.status


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("kill -TERM $$$$; sleep 60", 143), ("kill -KILL $$$$; sleep 60", 137)],
)
def test_exit_codes_and_signals_are_reported(run: Run, script: str, code: int) -> None:
    pod = run(shell(script), restartPolicy="Never")
    pod.until_over()
    assert (pod.status.phase, pod.ended()) == ("Failed", (code, "Error"))
    assert ready(pod.status)["ContainersReady"] == ("False", "PodFailed")


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded")]
)
def test_a_container_without_restart_runs_once(
    run: Run, tmp_path: Path, *, policy: str, code: int, phase: str
) -> None:
    pod = run(shell(f"echo run >> {tmp_path}/runs; exit {code}"), restartPolicy=policy)
    assert pod.until_over().phase == phase
    assert (tmp_path / "runs").read_text() == "run\n"


def test_policy_on_failure_reruns_until_success(run: Run, tmp_path: Path) -> None:
    script = f"echo run >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -ge 3"
    pod = run(shell(script), restartPolicy="OnFailure")
    pod.until_over()
    assert pod.status.phase == "Succeeded"
    assert (tmp_path / "runs").read_text().splitlines() == ["run"] * 3
    assert pod.container().restart_count == 2
    before = pod.container().last_state.terminated
    assert before
    assert before.exit_code == 1


@pytest.mark.parametrize("code", [0, 1])
def test_policy_always_reruns_after_back_off(run: Run, code: int) -> None:
    pod = run(shell(f"exit {code}"), restartPolicy="Always")
    rests = pod.until(lambda it: reason_of(it) == "CrashLoopBackOff" and pod.container().restart_count >= 4)
    container = pod.container()
    assert rests.phase == "Running"
    assert container.state.waiting
    assert container.last_state.terminated
    assert container.last_state.terminated.exit_code == code
    message = container.state.waiting.message or ""
    assert message.endswith(f"restarting failed container=web pod=web-0_default({pod.uid})")


def test_a_container_has_another_id_after_every_restart(run: Run) -> None:
    pod = run(shell("exit 1"))
    pod.until(lambda _: pod.container().restart_count >= 2)
    before = pod.container().last_state.terminated
    assert before
    assert pod.container().container_id != before.container_id or pod.container().state.waiting


def test_a_container_policy_overrides_the_pod_policy(run: Run) -> None:
    pod = run(shell("exit 1", restartPolicy="Never"), restartPolicy="Always")
    assert pod.until_over().phase == "Failed"


def test_init_containers_run_in_order_before_main_containers(run: Run, tmp_path: Path) -> None:
    def step(name: str) -> dict[str, Any]:
        return shell(f"echo {name} begins >> {tmp_path}/steps; echo {name} ends >> {tmp_path}/steps", name)

    pod = run(step("web"), initContainers=[step("one"), step("two")], restartPolicy="Never")
    assert [status.state.waiting.reason for status in pod.status.container_statuses if status.state.waiting] == [
        "PodInitializing"
    ]
    pod.until_over()
    steps = (tmp_path / "steps").read_text().splitlines()
    assert steps == [f"{name} {what}" for name in ("one", "two", "web") for what in ("begins", "ends")]
    assert {status.phase for _, status in pod.timeline[:-2]} <= {"Pending", "Running"}
    assert ready(pod.status)["Initialized"][0] == "True"


def test_a_final_init_failure_fails_the_pod(run: Run, tmp_path: Path) -> None:
    pod = run(shell(f"touch {tmp_path}/ran"), initContainers=[shell("exit 4", "first")], restartPolicy="Never")
    assert pod.until_over().phase == "Failed"
    waiting = pod.container().state.waiting
    assert waiting
    assert (pod.ended("first"), waiting.reason) == ((4, "Error"), "PodInitializing")
    assert {ready(status)["Initialized"] for _, status in pod.timeline} == {("False", "ContainersNotInitialized")}
    assert not (tmp_path / "ran").exists()


def test_a_failed_init_container_is_retried_by_policy(run: Run, tmp_path: Path) -> None:
    script = f"echo run >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -ge 3"
    pod = run(shell("sleep 60"), initContainers=[shell(script, "first")], restartPolicy="Always")
    pod.until_running()
    assert pod.container("first").restart_count == 2
    assert pod.container("first").ready


def sidecar(name: str, steps: Path) -> dict[str, Any]:
    """Return a sidecar that writes a line to a file when it has started, and one when it ends."""
    script = f"trap 'echo {name} ends >> {steps}; exit 0' TERM; echo {name} begins >> {steps}; "
    return shell(script + "while :; do sleep 0.01; done", name, restartPolicy="Always")


def test_sidecars_start_in_order_and_end_in_reverse(run: Run, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    web = shell(
        f"while ! grep -q one {steps} || ! grep -q two {steps}; do sleep 0.01; done; echo web ends >> {steps}"
    )
    pod = run(web, initContainers=[sidecar("one", steps), sidecar("two", steps)], restartPolicy="Never")
    assert pod.until_over().phase == "Succeeded"
    lines = steps.read_text().splitlines()
    assert sorted(lines[:2]) == ["one begins", "two begins"]
    assert lines[2:] == ["web ends", "two ends", "one ends"]


def test_a_sidecar_restarts_while_main_containers_run(run: Run) -> None:
    pod = run(
        shell("sleep 60"), initContainers=[shell("exit 0", "side", restartPolicy="Always")], restartPolicy="Never"
    )
    pod.until(lambda status: status.phase == "Running" and pod.container("side").restart_count >= 2)


def test_a_failed_sidecar_does_not_fail_the_pod(run: Run) -> None:
    pod = run(
        shell("exit 0"), initContainers=[shell("exit 1", "side", restartPolicy="Always")], restartPolicy="Never"
    )
    assert pod.until_over().phase == "Succeeded"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ["/no/such/program"]}, "command: No such file or directory"),
        ({"command": ["/etc/passwd"]}, "command: Permission denied"),
        ({"workingDir": "/no/such/directory"}, "workingDir: No such file or directory"),
    ],
)
def test_an_unrunnable_command_fails_with_128(run: Run, fields: dict[str, Any], message: str) -> None:
    pod = run({**shell("true"), **fields}, restartPolicy="Never")
    assert pod.until_over().phase == "Failed"
    terminated = pod.container().state.terminated
    assert terminated
    assert (terminated.exit_code, terminated.reason, terminated.message) == (128, "StartError", message)


def test_a_pod_fails_at_its_active_deadline(run: Run) -> None:
    pod = run(shell("sleep 60"), activeDeadlineSeconds=5, terminationGracePeriodSeconds=30)
    pod.until_running()
    status = pod.until_over()
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert pod.ended() == (143, "Error")


def test_a_deadline_that_is_brought_forward_holds(run: Run) -> None:
    pod = run(shell("sleep 60"), activeDeadlineSeconds=3600)
    pod.until_running()
    pod.change(activeDeadlineSeconds=0)
    assert pod.until_over().reason == "DeadlineExceeded"


def test_a_metadata_update_changes_only_the_generation(run: Run) -> None:
    pod = run(shell("sleep 60"))
    before = pod.until_running()
    pod.change(generation=7)
    after = pod.read()
    assert after.observed_generation == 7
    assert after.container_statuses == before.container_statuses
    assert [c.last_transition_time for c in after.conditions] == [
        c.last_transition_time for c in before.conditions
    ]


def test_transitions_observed_late_are_still_reported(run: Run, tmp_path: Path) -> None:
    """Store an update before the previous observations are read."""
    pod = run(shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"), restartPolicy="Never")
    pod.until_running()
    (tmp_path / "go").touch()
    eventually(lambda: not pod.directory.has_shim)
    pod.change(generation=7)
    assert pod.until_over().phase == "Succeeded"
