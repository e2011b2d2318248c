"""In-place resize: resources that change while containers run."""

from datetime import datetime
from typing import Any

from app.kubernetes.status import PodStatus, Transition
from app.runtimes.synthetic.timeline import update
from tests.app.runtimes.synthetic.invariants import check_history
from tests.app.simulation import UID, after, container, decoded, parse_pod, simulated_pod, transitions_of
from tests.pods import a_container, a_pod

CAPACITY = {"cpu": "4", "memory": "8Gi"}


def a_sized_pod(cpu: str, **fields: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu, "memory": 1024}, "limits": {"cpu": "8"}}
    return a_pod(uid=UID, containers=[a_container(resources=resources, **fields), a_container("log")])


def resized(to: str, *, now: datetime, **fields: Any) -> list[Transition]:
    before, pod = a_sized_pod("1", **fields), a_sized_pod(to, **fields)
    timeline = transitions_of(before, capacity=CAPACITY)
    after_it = update(
        simulated_pod(pod, capacity=CAPACITY),
        before=simulated_pod(before, capacity=CAPACITY),
        current=timeline[-1],
        now=now,
    ).transitions
    check_history([*((parse_pod(before), t) for t in timeline), *((parse_pod(pod), t) for t in after_it)])
    return after_it


def of(status: PodStatus) -> tuple[Any, Any]:
    web = decoded(container(status))
    return web["allocatedResources"]["cpu"], web["resources"]["requests"]["cpu"]


def conditions(status: PodStatus) -> dict[str, str | None]:
    return {c.type: c.reason for c in status.conditions if c.type.startswith("PodResize")}


def test_a_running_container_reports_its_resources() -> None:
    web = decoded(container(transitions_of(a_sized_pod("1"))[0].status))
    assert web["allocatedResources"] == {"cpu": "1", "memory": "1024"}
    assert web["resources"] == {"requests": {"cpu": "1", "memory": "1024"}, "limits": {"cpu": "8"}}


def test_a_pod_reports_its_own_resources() -> None:
    own = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}
    status = decoded(transitions_of(a_pod(uid=UID, resources=own))[-1].status)
    assert (status["allocatedResources"], status["resources"]) == (own["requests"], own)
    assert "resources" not in decoded(transitions_of(a_sized_pod("1"))[-1].status)


def test_a_resize_is_applied_after_one_second() -> None:
    first, second = resized("2", now=after(60.5))
    assert (first.effective_at, of(first.status), conditions(first.status)) == (
        after(60.5), ("2", "1"), {"PodResizeInProgress": None},
    )  # fmt: skip
    assert (second.effective_at, of(second.status), conditions(second.status)) == (after(61), ("2", "2"), {})


def test_a_resize_restarts_nothing() -> None:
    _, (_, status) = resized("2", now=after(60))
    assert [entry.restart_count for entry in status.container_statuses] == [0, 0]
    assert decoded(container(status).state) == {"running": {"startedAt": "2026-11-22T08:46:38Z"}}


def test_a_resize_policy_may_restart_the_container() -> None:
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    _, (at, status) = resized("2", now=after(60), resizePolicy=policy)
    assert (at, of(status)) == (after(61), ("2", "2"))
    assert [container(status, name).restart_count for name in ("web", "log")] == [1, 0]


def test_the_resize_of_another_resource_does_not() -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    _, (_, status) = resized("2", now=after(60), resizePolicy=policy)
    assert container(status).restart_count == 0


def test_a_resize_beyond_the_node_is_infeasible() -> None:
    ((_, status),) = resized("5", now=after(60))
    assert (of(status), conditions(status)) == (("1", "1"), {"PodResizePending": "Infeasible"})
    (message,) = [c.message for c in status.conditions if c.type == "PodResizePending"]
    assert message == "Node didn't have enough capacity: cpu"
