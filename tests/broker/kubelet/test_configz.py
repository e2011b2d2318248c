"""The configuration of a node in the terms of a kubelet."""

import pytest

from broker.kubelet.configz import configuration
from broker.node_info import NodeInfo
from tests.broker.nodes import settings_of_a_node


@pytest.mark.parametrize(("quantity", "pods"), [("110", 110), ("1k", 1000), ("2e2", 200), ("110.0", 110)])
def test_the_capacity_of_pods_is_a_number(quantity: str, pods: int) -> None:
    node = NodeInfo("node-1", capacity={"pods": quantity})
    assert configuration(settings_of_a_node("http://127.0.0.1:1"), node)["maxPods"] == pods


def test_an_unknown_capacity_is_left_out() -> None:
    assert "maxPods" not in configuration(settings_of_a_node("http://127.0.0.1:1"), NodeInfo("node-1"))
