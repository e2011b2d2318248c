"""Whether a node matches a pod's selector and affinity."""

from typing import Any

import pytest

from broker.node_info import NodeInfo
from broker.pods.node_affinity import matches_node
from tests.pods import a_pod

Object = dict[str, Any]
NODE = NodeInfo("node-1", labels={"zone": "a", "size": "8"})


def affinity(*terms: Object) -> Object:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def expression(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "welcome"),
    [
        pytest.param({"nodeSelector": {"zone": "a"}}, True, id="selected"),
        pytest.param({"nodeSelector": {"zone": "a", "disk": "ssd"}}, False, id="another selected"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "In", "a", "b")]}), True, id="In"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "In", "b")]}), False, id="not In"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "NotIn", "b")]}), True, id="NotIn"),
        pytest.param(
            affinity({"matchExpressions": [expression("disk", "NotIn", "b")]}), True, id="NotIn, without"
        ),
        pytest.param(affinity({"matchExpressions": [expression("zone", "Exists")]}), True, id="Exists"),
        pytest.param(
            affinity({"matchExpressions": [expression("disk", "DoesNotExist")]}), True, id="DoesNotExist"
        ),
        pytest.param(affinity({"matchExpressions": [expression("size", "Gt", "7")]}), True, id="Gt"),
        pytest.param(affinity({"matchExpressions": [expression("size", "Lt", "8")]}), False, id="not Lt"),
        pytest.param(affinity({"matchExpressions": [expression("zone", "Gt", "7")]}), False, id="Gt of no number"),
        pytest.param(
            affinity({"matchExpressions": [expression("zone", "Like", "a")]}), False, id="a new operator"
        ),
        pytest.param(affinity({"matchFields": [expression("metadata.name", "In", "node-1")]}), True, id="by name"),
        pytest.param(
            affinity({"matchFields": [expression("metadata.name", "In", "node-2")]}), False, id="not by name"
        ),
        pytest.param(
            affinity(
                {"matchExpressions": [expression("zone", "In", "b")]},
                {"matchExpressions": [expression("zone", "Exists")]},
            ),
            True,
            id="one term is enough",
        ),
        pytest.param(affinity({}), False, id="an empty term is for no node"),
        pytest.param({"affinity": {"nodeAffinity": {}}}, True, id="nothing required"),
    ],
)
def test_a_pod_requires_matching_selector_and_affinity(spec: Object, welcome: bool) -> None:
    assert matches_node(a_pod(**spec), NODE) == welcome
