"""Whether a pod tolerates the taints of a node."""

from typing import Any

import pytest

from broker.pods.taints import tolerates_no_execute
from tests.pods import a_pod

Object = dict[str, Any]
TAINT = {"key": "disk", "value": "broken", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        pytest.param({"operator": "Exists"}, True, id="everything"),
        pytest.param({"key": "disk", "operator": "Exists"}, True, id="the key"),
        pytest.param({"key": "disk", "operator": "Exists", "effect": "NoExecute"}, True, id="key and effect"),
        pytest.param({"key": "disk", "operator": "Exists", "effect": "NoSchedule"}, False, id="another effect"),
        pytest.param({"key": "net", "operator": "Exists"}, False, id="another key"),
        pytest.param({"key": "disk", "operator": "Equal", "value": "broken"}, True, id="the value"),
        pytest.param({"key": "disk", "value": "broken"}, True, id="the value, by default"),
        pytest.param({"key": "disk", "value": "slow"}, False, id="another value"),
        pytest.param({"key": "disk"}, False, id="no value"),
        pytest.param({"key": "disk", "operator": "Gt", "value": "0"}, False, id="an alpha operator"),
        pytest.param(
            {"key": "disk", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            True,
            id="for some time",
        ),
    ],
)
def test_a_taint_requires_a_matching_toleration(toleration: Object, tolerated: bool) -> None:
    assert tolerates_no_execute(a_pod(tolerations=[toleration]), [TAINT]) is tolerated


def test_a_taint_without_value_is_tolerated_by_key() -> None:
    taint = {"key": "disk", "effect": "NoExecute"}
    assert tolerates_no_execute(a_pod(tolerations=[{"key": "disk"}]), [taint])


def test_every_taint_must_be_tolerated() -> None:
    pod = a_pod(tolerations=[{"key": "disk", "operator": "Exists"}])
    assert not tolerates_no_execute(pod, [TAINT, {**TAINT, "key": "net"}])
    assert tolerates_no_execute(pod, [TAINT, {**TAINT, "key": "net", "effect": "NoSchedule"}])
    assert tolerates_no_execute(pod, [])
