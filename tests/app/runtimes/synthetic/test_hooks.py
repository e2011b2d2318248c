"""postStart hooks: a container waits until its hook has ended, and is restarted when the hook fails."""

from datetime import timedelta
from typing import Any

import pytest

from app.kubernetes.status import PodStatus
from app.runtimes.synthetic.timeline import advance, delete
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import (
    UID,
    after,
    annotated,
    container,
    decoded,
    parse_pod,
    simulated_pod,
    status_at,
    transitions_of,
    transitions_on_update,
    transitions_until,
)
from tests.pods import a_container, a_pod

SLEEP = {"postStart": {"sleep": {"seconds": 5}}}


def pod(lifecycle: dict[str, Any] = SLEEP, **spec: Any) -> dict[str, Any]:
    return a_pod(uid=UID, containers=[a_container("web", lifecycle=lifecycle), a_container("log")], **spec)


def waiting(status: PodStatus, name: str = "web") -> str | None:
    state = container(status, name).state.waiting
    return state.reason if state else None


def is_ready(status: PodStatus) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)


def test_a_container_waits_until_its_hook_has_ended() -> None:
    timeline = transitions_of(pod())
    check(parse_pod(pod()), timeline)
    assert [(at, status.phase, waiting(status), is_ready(status)) for at, status in timeline[1:]] == [
        (after(5), "Running", None, True)
    ]
    first = timeline[0].status
    assert (first.phase, waiting(first), is_ready(first)) == ("Pending", "ContainerCreating", False)
    assert container(first, "log").state.running
    assert decoded(container(timeline[-1].status).state) == {"running": {"startedAt": "2026-11-22T08:46:38Z"}}


def test_an_update_does_not_restart_the_hook() -> None:
    changed = {**pod(), "metadata": {**pod()["metadata"], "labels": {"app": "other"}}}
    timeline = transitions_on_update(changed, pod(), transitions_of(pod()), after(3))
    assert [at for at, _ in timeline] == [after(3), after(5)]


def test_a_sidecar_holds_the_others_until_its_hook_has_ended() -> None:
    sidecar = a_container("proxy", restartPolicy="Always", lifecycle=SLEEP)
    timeline = transitions_of(a_pod(uid=UID, initContainers=[sidecar]))
    assert [(at, status.phase) for at, status in timeline[1:]] == [(after(5), "Running")]
    assert waiting(timeline[0].status, "proxy") == waiting(timeline[0].status) == "PodInitializing"


@pytest.mark.parametrize("handler", [{"exec": {"command": ["true"]}}, {"httpGet": {"port": 80}}])
def test_a_hook_of_unknown_length_takes_no_time(handler: dict[str, Any]) -> None:
    assert [status.phase for _, status in transitions_of(pod({"postStart": handler}))] == ["Running"]


def test_a_failed_hook_restarts_the_container_with_back_off() -> None:
    failing = annotated(pod(), fail__web="PostStartHook", stop_after__web="1s")
    timeline = transitions_until(failing, until=after(60))
    check(parse_pod(failing), timeline)
    states = [((at - after(0)).total_seconds() // 1, waiting(status)) for at, status in timeline]
    assert states == [
        (0, "ContainerCreating"),
        (6, "PostStartHookError"),
        (7, "ContainerCreating"),
        (13, "PostStartHookError"),
        (14, "CrashLoopBackOff"),
        (23, "ContainerCreating"),
        (29, "PostStartHookError"),
        (30, "CrashLoopBackOff"),
        (49, "ContainerCreating"),
        (55, "PostStartHookError"),
        (56, "CrashLoopBackOff"),
    ]
    last = container(timeline[-1].status)
    assert last.restart_count == 3
    assert last.last_state.terminated
    assert last.last_state.terminated.exit_code == 143


def test_a_failed_hook_without_restart_fails_the_pod() -> None:
    failing = annotated(pod(restartPolicy="Never"), fail__web="PostStartHook", run_for__log="1s")
    timeline = transitions_of(failing)
    check(parse_pod(failing), timeline)
    assert (timeline[-1].effective_at, timeline[-1].status.phase) == (after(5), "Failed")


def test_a_hook_without_a_known_handler_fails() -> None:
    timeline = transitions_of(pod({"postStart": {"tcpSocket": {"port": 80}}}))
    assert waiting(timeline[0].status) == "PostStartHookError"


def test_a_year_of_failed_hooks_is_read_at_once() -> None:
    failing = annotated(pod(), fail__web="PostStartHook")
    year = after(365 * 86_400)
    first = transitions_until(failing, until=after(3600))
    found = advance(simulated_pod(failing), current=first[-1], now=year)
    assert found
    assert container(status_at(found.transitions, year)).restart_count > 365 * 86_400 // 400
    assert len(first) < 80
    assert len(found.transitions) < 80


def test_a_pod_is_stopped_while_its_hook_runs() -> None:
    current = transitions_of(pod())[0]
    timeline = delete(simulated_pod(pod()), current=current, grace=timedelta(seconds=30), now=after(2)).transitions
    check(parse_pod(pod()), [current, *timeline])
    terminated = container(timeline[-1].status).state.terminated
    assert terminated
    assert (terminated.exit_code, terminated.started_at) == (0, "2026-11-22T08:46:38Z")


def test_a_failing_hook_requires_a_hook() -> None:
    status = transitions_of(annotated(a_pod(uid=UID), fail="PostStartHook"))[0].status
    assert status.message == "synthetic.virtual-kubelet.io/fail: no container has such a probe or hook"
