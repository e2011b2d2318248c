"""Statuses of nodes as JSON: complete, and in memory once as far as they are equal."""

import pytest

from broker.node.status_json import StatusJson
from broker.node_info import NodeInfo
from broker.types import Object


def a_status(time: str) -> Object:
    condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": time, "lastTransitionTime": time}
    return {"capacity": {"cpu": "4"}, "conditions": [condition, {"type": "Own", "status": "False"}]}


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"conditions": None},
        {"conditions": []},
        a_status("2026-11-28T07:00:00Z"),
        {"conditions": [{"type": "Ready", "lastTransitionTime": "2026-11-28T07:00:00Z", "newer": {"a": 1}}]},
    ],
)
def test_a_status_is_kept_as_it_is(status: Object) -> None:
    assert StatusJson.encode(status).decode() == status


def test_statuses_that_differ_in_times_share_the_rest() -> None:
    one, other = (StatusJson.encode(a_status(f"2026-11-28T07:00:0{second}Z")) for second in (1, 2))
    assert one.text is other.text
    assert one.times != other.times


def test_nodes_share_equal_labels_and_taints() -> None:
    nodes = [NodeInfo(f"node-{number}") for number in range(2)]
    for node in nodes:
        labels = {"".join(["zo", "ne"]): "".join(["eu", "-1a"]), "kubernetes.io/hostname": node.name}
        taint = {"key": "spot", "effect": "NoSchedule"}
        node.observe({"metadata": {"uid": node.name, "labels": labels}, "spec": {"taints": [taint]}})
    one, other = nodes
    assert one.labels["zone"] is other.labels["zone"]
    assert one.labels["kubernetes.io/hostname"] == "node-0"
    assert one.taints[0] is other.taints[0]
