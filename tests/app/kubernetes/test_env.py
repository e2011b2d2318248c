"""References that a container's environment still has, and the message with which it waits."""

import json
from typing import Any

import pytest

from app.kubernetes.env import expand, missing_object
from app.kubernetes.manifest import Manifest
from tests.app.simulation import SECRET, parse_pod
from tests.pods import a_container, a_pod


def key_of(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"name": SECRET, "valueFrom": {f"{kind}KeyRef": {"name": name, "key": SECRET, **more}}}


def all_of(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"prefix": SECRET, f"{kind}Ref": {"name": name, **more}}


FIELD = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, None),
        ({"env": None, "envFrom": None}, None),
        ({"env": [{"name": "A", "value": SECRET}, FIELD]}, None),
        ({"env": [FIELD, key_of("secret", "a"), key_of("configMap", "b")]}, 'secret "a" not found'),
        ({"env": [key_of("configMap", "b")]}, 'configmap "b" not found'),
        ({"env": [key_of("secret", "a", optional=True), key_of("secret", "b")]}, 'secret "b" not found'),
        ({"env": [key_of("secret", "a", optional=True)]}, None),
        ({"envFrom": [all_of("configMap", "a", optional=True)]}, None),
        ({"envFrom": [all_of("secret", "a")], "env": [key_of("secret", "b")]}, 'secret "a" not found'),
        ({"envFrom": [all_of("configMap", "a", optional=False)]}, 'configmap "a" not found'),
        ({"env": [None, 1, {}], "envFrom": "nonsense"}, None),
    ],
)
def test_the_first_mandatory_reference_is_named(fields: dict[str, Any], message: str | None) -> None:
    (container,) = parse_pod(a_pod(containers=[a_container(**fields)])).spec.containers
    assert missing_object(container) == message


def test_a_reference_with_an_escaped_key_is_found() -> None:
    text = json.dumps(a_pod(containers=[a_container(env=[key_of("secret", "a")])]))
    manifest = Manifest.parse(text.replace("valueFrom", "value\\u0046rom").encode())
    assert missing_object(manifest.pod.spec.containers[0]) == 'secret "a" not found'


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)$(B)", "1$(B)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$", "$"),
        ("", ""),
    ],
)
def test_a_variable_is_replaced_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded
