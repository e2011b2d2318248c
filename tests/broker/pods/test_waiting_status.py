"""The status of a pod that waits."""

from broker.pods.waiting_status import waiting_status, with_messages
from tests.pods import a_container, a_pod

REPORTED = {"reason": "CreateContainerConfigError", "message": "not resolved"}


def test_containers_without_init_containers_are_creating() -> None:
    status = waiting_status(a_pod(containers=[a_container(), a_container("b")]), {"b": "missing"})
    assert status["phase"] == "Pending"
    assert [c["state"]["waiting"] for c in status["containerStatuses"]] == [
        {"reason": "ContainerCreating"},
        {"reason": "CreateContainerConfigError", "message": "missing"},
    ]
    assert "conditions" not in status


def test_the_reported_message_of_a_waiting_container_is_replaced() -> None:
    waiting = [{"name": name, "state": {"waiting": REPORTED}} for name in ("web", "other")]
    running = {"name": "running", "state": {"running": {}}}
    reported = {"phase": "Pending", "containerStatuses": [*waiting, running]}
    found = with_messages(reported, {"web": "missing", "running": "missing"})
    assert found["containerStatuses"] == [
        {"name": "web", "state": {"waiting": {**REPORTED, "message": "missing"}}},
        waiting[1],
        running,
    ]


def test_a_status_without_waiting_containers_is_unchanged() -> None:
    reported = {"phase": "Running", "containerStatuses": None}
    assert with_messages(reported, {}) is reported
    assert with_messages(reported, {"web": "missing"}) == reported
