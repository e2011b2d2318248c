"""Messages about many nodes."""

import pytest
from structlog.testing import capture_logs

from broker import node_log
from broker.node_log import NodeLog
from tests.broker.waiting import eventually


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_log, "_FIRST_WINDOW", 0.01)
    monkeypatch.setattr(node_log, "_WINDOW", 0.01)


async def test_a_cause_of_many_nodes_is_two_lines() -> None:
    messages = NodeLog()
    with capture_logs() as logs:
        for number in range(1000):
            own = {"retry_in": 1.5}
            messages.warning(
                "node not registered", f"a-{number}", own=own, error=f'nodes "a-{number}" is forbidden'
            )
        assert len(logs) == 1
        await eventually(lambda: len(logs) == 2)
    first, others = logs
    assert first == {
        "log_level": "warning", "event": "node not registered", "node": "a-0", "retry_in": 1.5,
        "error": 'nodes "a-0" is forbidden',
    }  # fmt: skip
    assert others == {
        "log_level": "warning", "event": "node not registered", "nodes": 999,
        "names": "a-1, a-2, a-3, a-4, a-5, …", "error": 'nodes "a-1" is forbidden',
    }  # fmt: skip


async def test_another_cause_is_another_message() -> None:
    messages = NodeLog()
    with capture_logs() as logs:
        messages.error("node given up until it is free", "a-0", reason="held by b")
        messages.error("node given up until it is free", "a-1", reason="held by c")
    assert [(line["node"], line["reason"]) for line in logs] == [("a-0", "held by b"), ("a-1", "held by c")]


async def test_causes_with_other_uids_are_the_same() -> None:
    messages = NodeLog()
    with capture_logs() as logs:
        for number in range(4):
            uid = f"6f1c9f0a-1d8b-4a3c-9a44-0b8c5d1e7f2{number}"  # that of a-1 contains its name
            reason = f"another broker has taken over node a-{number}: a-{number}_{uid}"
            messages.error("node given up until it is free", f"a-{number}", reason=reason)
        messages.flush()
    assert [line.get("nodes", 1) for line in logs] == [1, 3]


async def test_pods_of_several_nodes_are_added_up() -> None:
    messages = NodeLog()
    with capture_logs() as logs:
        for number in range(3):
            messages.info("node removed", f"a-{number}", pods=number + 1)
        messages.flush()
    assert [line["pods"] for line in logs] == [1, 5]


async def test_a_later_message_is_logged_at_once_again() -> None:
    messages = NodeLog()
    with capture_logs() as logs:
        messages.info("node removed", "a-0")
        await eventually(lambda: not messages._kinds)
        messages.info("node removed", "a-1")
        assert [line["node"] for line in logs] == ["a-0", "a-1"]
