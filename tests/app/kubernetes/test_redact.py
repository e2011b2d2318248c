"""The values of a Pod that are redacted."""

from typing import Any

import orjson
import pytest

from app.kubernetes.redact import redact_pod
from tests.app.simulation import SECRET
from tests.pods import a_container, a_pod

VARIABLES = [
    {"name": "PASSWORD", "value": SECRET},
    {"name": "WITH_SOURCE", "value": SECRET, "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    {"name": "NEW_FIELD", "secretOfTomorrow": SECRET},
    SECRET,
]


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
def test_no_value_of_an_environment_is_left(kind: str) -> None:
    pod = {**a_pod(), "spec": {kind: [a_container(env=VARIABLES)]}}
    before = orjson.dumps(pod)

    shown = redact_pod(pod)

    assert SECRET not in orjson.dumps(shown).decode()
    [container] = shown["spec"][kind]
    assert container["env"][:2] == [
        {"name": "PASSWORD", "value": "…"},
        {"name": "WITH_SOURCE", "value": "…", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ]
    assert orjson.dumps(pod) == before


def test_the_last_applied_annotation_is_redacted_entirely() -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": SECRET, "note": "kept"}
    shown = redact_pod(a_pod(metadata={"annotations": applied}))
    assert shown["metadata"]["annotations"] == {**applied, "kubectl.kubernetes.io/last-applied-configuration": "…"}


@pytest.mark.parametrize("pod", [{}, {"spec": None, "metadata": None}, {"spec": {"containers": None}}, a_pod()])
def test_everything_else_is_left_as_it_is(pod: dict[str, Any]) -> None:
    assert redact_pod(pod) == pod
