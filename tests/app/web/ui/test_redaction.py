"""The Pod as the dashboard shows it."""

import copy
import json
from typing import Any

import pytest

from app.kubernetes.redact import redact_pod
from tests.pods import SECRET, a_container, a_pod, a_secret_pod


def test_no_environment_value_remains() -> None:
    pod = a_secret_pod()
    before = copy.deepcopy(pod)

    shown = json.dumps(redact_pod(pod))

    assert SECRET not in shown
    assert "PASSWORD" in shown
    assert pod == before


@pytest.mark.parametrize("field", ["containers", "initContainers", "ephemeralContainers"])
def test_names_and_where_values_come_from_are_left(field: str) -> None:
    reference = {"secretKeyRef": {"name": "db", "key": "password"}}
    variables = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": reference}, {"name": "C"}]

    shown = redact_pod({"spec": {field: [a_container(env=variables)]}})

    assert shown["spec"][field][0]["env"] == [
        {"name": "A", "value": "…"},
        {"name": "B", "valueFrom": reference},
        {"name": "C"},
    ]


def test_short_values_and_pod_names_remain() -> None:
    env = [
        {"name": "DEBUG", "value": "true"},
        {"name": "POD_NAME", "value": "web-production"},
        {"name": "POD_NAMESPACE", "value": "default"},
    ]
    pod = a_pod("web-production", containers=[a_container(env=env, args=["--debug=true", "--zone=default"])])

    shown = redact_pod(pod)

    assert shown["metadata"] == pod["metadata"]
    assert shown["spec"]["containers"][0]["args"] == ["--debug=true", "--zone=default"]


def test_overlapping_values_are_redacted() -> None:
    env = [{"name": "A", "value": "secret"}, {"name": "B", "value": "secret-and-more"}]

    shown = redact_pod(a_pod(containers=[a_container(env=env, args=["secret-and-more"])]))

    assert shown["spec"]["containers"][0]["args"] == ["…"]


@pytest.mark.parametrize(
    "pod",
    [
        {},
        {"spec": None, "metadata": None},
        {"spec": {"containers": None}},
        {"spec": {"containers": [None, {"env": None}, {"env": ["text", {"value": 7}]}]}},
        {"metadata": {"annotations": None}, "spec": {"containers": [{}]}},
    ],
)
def test_any_document_can_be_redacted(pod: dict[str, Any]) -> None:
    assert redact_pod(pod).keys() == pod.keys()
