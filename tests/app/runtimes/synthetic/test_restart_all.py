"""Containers whose end restarts all containers of the pod."""

from typing import Any

from app.kubernetes.status import PodStatus
from app.runtimes.synthetic.timeline import advance
from tests.app.simulation import (
    UID,
    after,
    annotated,
    container,
    decoded,
    simulated_pod,
    status_at,
    transitions_until,
)
from tests.pods import a_container, a_pod

REMOVED = {
    "reason": "RestartingAllContainers",
    "message": "The container is removed because RestartAllContainers in place",
    "exitCode": 137,
}


def rule(action: str, *codes: int) -> dict[str, Any]:
    return {"action": action, "exitCodes": {"operator": "In", "values": list(codes)}}


def pod(*rules: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """A pod with an init container of 2 s, a sidecar, and `main`, which has the rules and fails after 5 s."""
    main = a_container("main", restartPolicy="Never", restartPolicyRules=list(rules))
    return annotated(
        a_pod(
            uid=UID,
            initContainers=[a_container("setup"), a_container("proxy", restartPolicy="Always")],
            containers=[main, a_container("log")],
            restartPolicy="Never",
        ),
        **{"run_for__setup": "2s", "run_for__main": "5s", "exit_code__main": "42", **annotations},
    )


def counts(status: PodStatus) -> dict[str, int]:
    return {entry.name: entry.restart_count for entry in status.all_containers}


def restarting(status: PodStatus) -> str | None:
    found = [condition for condition in status.conditions if condition.type == "AllContainersRestarting"]
    return found[0].status if found else None


def test_all_containers_are_restarted_from_the_first_init_container() -> None:
    timeline = transitions_until(pod(rule("RestartAllContainers", 42)), until=after(12))
    ended = status_at(timeline, after(7))
    assert (ended.phase, restarting(ended)) == ("Running", "True")
    assert container(ended, "log").state.running
    again = status_at(timeline, after(8))
    assert (again.phase, restarting(again)) == ("Pending", "False")
    assert counts(again) == {"setup": 1, "proxy": 1, "main": 1, "log": 1}
    assert decoded(container(again, "setup").state) == {"running": {"startedAt": "2026-11-22T08:46:46Z"}}
    assert decoded(container(again, "log").state)["waiting"]["reason"] == "RestartingAllContainers"
    assert decoded(container(again, "log").last_state) == {"terminated": REMOVED}
    running = status_at(timeline, after(10))
    assert running.phase == "Running"
    assert decoded(container(running, "main").last_state) == {"terminated": REMOVED}
    assert len({container(status, "main").container_id for _, status in timeline}) == 3


def test_another_exit_code_restarts_nothing() -> None:
    timeline = transitions_until(pod(rule("RestartAllContainers", 1), run_for__log="9s"), until=after(60))
    assert timeline[-1].status.phase == "Failed"
    assert counts(timeline[-1].status) == {"setup": 0, "proxy": 0, "main": 0, "log": 0}
    assert restarting(timeline[-1].status) == "False"


def test_the_first_matching_rule_decides() -> None:
    timeline = transitions_until(pod(rule("Restart", 42), rule("RestartAllContainers", 42)), until=after(12))
    assert counts(timeline[-1].status) == {"setup": 0, "proxy": 0, "main": 1, "log": 0}


def test_a_year_of_restarts_is_read_at_once() -> None:
    year = after(365 * 86_400)
    last = transitions_until(pod(rule("RestartAllContainers", 42)), until=after(1000))[-1]
    found = advance(simulated_pod(pod(rule("RestartAllContainers", 42))), current=last, now=year)
    assert found
    status = status_at(found.transitions, year)
    restarts = 365 * 86_400 // 8
    assert counts(status) == dict.fromkeys(("setup", "proxy", "main", "log"), restarts)
