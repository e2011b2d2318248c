"""Whether and when a container that has ended is restarted."""

from itertools import pairwise
from typing import Any

import pytest

from app.kubernetes import restart
from app.kubernetes.pod import Container, PodSpec
from app.kubernetes.restart import should_restart
from app.kubernetes.status import ContainerStateTerminated
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import (
    UID,
    after,
    annotated,
    container,
    decoded,
    parse_pod,
    status_at,
    transitions_of,
    transitions_until,
)
from tests.pods import a_container, a_pod


@pytest.mark.parametrize(
    ("pods_policy", "own", "exit_code", "expected"),
    [
        ("Always", None, 0, True),
        ("Always", None, 1, True),
        ("OnFailure", None, 0, False),
        ("OnFailure", None, 1, True),
        ("Never", None, 0, False),
        ("Never", None, 1, False),
        (None, None, 0, True),
        ("Never", "Always", 0, True),
        ("Never", "OnFailure", 1, True),
        ("Always", "OnFailure", 0, False),
        ("Always", "Never", 1, False),
    ],
)
def test_a_container_policy_overrides_the_pod_policy(
    pods_policy: str | None, own: str | None, exit_code: int, *, expected: bool
) -> None:
    web = Container(name="web", restart_policy=own)
    assert (
        should_restart(web, PodSpec(containers=[web], restart_policy=pods_policy), exit_code=exit_code) is expected
    )


@pytest.mark.parametrize(
    ("own", "operator", "values", "exit_code", "expected"),
    [
        ("Never", "In", [42], 42, True),
        ("Never", "In", [42], 41, False),
        ("Never", "NotIn", [42], 42, False),
        ("Never", "NotIn", [42], 41, True),
        ("Always", "In", [42], 41, True),
        (None, "In", [42], 42, False),
        ("Never", "Unheard", [42], 42, False),
        ("Never", "In", None, 42, False),
    ],
)
def test_restart_rules_precede_the_container_policy(
    own: str | None, operator: str, values: list[int] | None, exit_code: int, *, expected: bool
) -> None:
    rule = {"action": "Restart", "exitCodes": {"operator": operator, "values": values}}
    pod = parse_pod(
        a_pod(containers=[a_container(restartPolicy=own, restartPolicyRules=[rule])], restartPolicy="Never")
    )
    assert should_restart(pod.spec.containers[0], pod.spec, exit_code=exit_code) is expected


def a_run(start: float, end: float) -> ContainerStateTerminated:
    def time(seconds: float) -> str:
        return f"{after(seconds):%Y-%m-%dT%H:%M:%SZ}"

    return ContainerStateTerminated(exit_code=1, reason="Error", started_at=time(start), finished_at=time(end))


@pytest.mark.parametrize(
    ("before", "ended", "expected"),
    [
        pytest.param(None, a_run(0, 5), 0, id="the first run"),
        pytest.param(a_run(0, 5), a_run(6, 11), 10, id="restarted at once"),
        pytest.param(a_run(0, 5), a_run(15, 20), 20, id="after 10 s"),
        pytest.param(a_run(0, 5), a_run(25, 30), 40, id="after 20 s"),
        pytest.param(a_run(0, 5), a_run(165, 170), 300, id="after 160 s"),
        pytest.param(a_run(0, 5), a_run(305, 310), 300, id="after 300 s"),
        pytest.param(a_run(0, 5), a_run(305, 905), 300, id="ran for 10 minutes"),
        pytest.param(a_run(0, 5), a_run(305, 906), 0, id="ran for longer"),
        pytest.param(a_run(0, 5), ContainerStateTerminated(exit_code=137, reason="x"), 0, id="nobody knows"),
    ],
)
def test_back_off_follows_from_the_last_two_runs(
    before: ContainerStateTerminated | None, ended: ContainerStateTerminated, expected: int
) -> None:
    assert restart.backoff_after(ended, before) == expected


def test_a_crash_looping_container_backs_off() -> None:
    pod = annotated(run_for="5s", exit_code="1")
    timeline = transitions_until(pod, until=after(3600))
    check(parse_pod(pod), timeline)
    starts = [after(0), *(at for at, status in timeline[1:] if container(status).state.running)]
    pauses = [(later - earlier).total_seconds() - 5 for earlier, later in pairwise(starts)]
    assert pauses[:6] == [1, 10, 20, 40, 80, 160]
    assert set(pauses[6:]) == {300}
    assert container(timeline[-1].status).restart_count == len(pauses)


def test_a_terminated_container_then_waits_in_back_off() -> None:
    timeline = transitions_of(annotated(run_for="5s", exit_code="3"))
    crashed, waits, again = timeline[3], timeline[4], timeline[5]
    assert decoded(container(crashed.status).state)["terminated"]["exitCode"] == 3
    assert decoded(container(waits.status).state) == {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": f"back-off 10s restarting failed container=web pod=web-0_default({UID})",
        }
    }
    assert waits.status.phase == "Running"
    assert decoded(container(waits.status).last_state)["terminated"]["exitCode"] == 3
    assert container(again.status).restart_count == 2


def test_a_service_that_ends_well_is_restarted_too() -> None:
    timeline = transitions_of(annotated(run_for="5s"))
    assert decoded(container(timeline[1].status).state)["terminated"]["reason"] == "Completed"
    assert container(timeline[2].status).restart_count == 1


def test_a_failing_init_container_is_retried() -> None:
    pod = annotated(a_pod(uid=UID, initContainers=[a_container("fetch")]), exit_code__fetch="1")
    timeline = transitions_until(pod, until=after(600))
    check(parse_pod(pod), timeline)
    assert {status.phase for _, status in timeline} == {"Pending"}
    assert container(timeline[-1].status, "fetch").restart_count == 6
    assert decoded(container(timeline[-1].status).state)["waiting"]["reason"] == "PodInitializing"


def test_a_final_init_failure_fails_the_pod() -> None:
    pod = a_pod(uid=UID, initContainers=[a_container("fetch")], restartPolicy="Never")
    timeline = transitions_of(annotated(pod, exit_code__fetch="1"))
    assert [(t, status.phase) for t, status in timeline][-1] == (after(1), "Failed")
    waiting = container(timeline[-1].status).state.waiting
    assert waiting
    assert waiting.reason == "PodInitializing"


def test_a_pod_runs_while_any_container_restarts() -> None:
    pod = a_pod(uid=UID, containers=[a_container("web"), a_container("once", restartPolicy="Never")])
    timeline = transitions_until(annotated(pod, run_for__once="3s"), until=after(600))
    status = status_at(timeline, after(600))
    assert (status.phase, container(status, "once").restart_count) == ("Running", 0)
    assert [c.status for c in status.conditions if c.type == "Ready"] == ["False"]


def test_a_sidecar_restarts_under_every_pod_policy() -> None:
    pod: dict[str, Any] = a_pod(
        uid=UID, initContainers=[a_container("proxy", restartPolicy="Always")], restartPolicy="Never"
    )
    timeline = transitions_until(annotated(pod, run_for__proxy="5s"), until=after(60))
    check(parse_pod(pod), timeline)
    assert container(timeline[-1].status, "proxy").restart_count == 3
    assert {status.phase for _, status in timeline} == {"Running"}
