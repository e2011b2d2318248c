"""The fields of a pod that a process of this machine can honor; all others are refused."""

import os
from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.runtimes.process import ProcessRuntime
from tests.app.runtimes.process import SECRET, Driven, shell

TOKEN = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}


@pytest.mark.parametrize(
    ("container", "spec", "field"),
    [
        ({"command": None, "args": ["a"]}, {}, "spec.containers[0].command"),
        ({"name": "../web"}, {}, "spec.containers[0].name"),
        ({"command": ["a\0b"]}, {}, "spec.containers[0]"),
        ({"env": [{"name": "A=B", "value": SECRET}]}, {}, "spec.containers[0].env[0].name"),
        ({"env": [{"name": "A", "value": SECRET + "\0"}]}, {}, "spec.containers[0]"),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            {},
            "spec.containers[0].env[0].valueFrom",
        ),
        ({"volumeMounts": [TOKEN, {"name": "a", "mountPath": "/a"}]}, {}, "spec.containers[0].volumeMounts[1]"),
        (
            {"volumeMounts": [{"name": "a", "mountPath": "/a"}]},
            {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "b"}}]},
            "spec.containers[0].volumeMounts[0]",
        ),
        ({"volumeDevices": [{"name": "a", "devicePath": "/a"}]}, {}, "spec.containers[0].volumeDevices"),
        ({"securityContext": {"runAsUser": 12345}}, {}, "spec.containers[0].securityContext.runAsUser"),
        ({}, {"securityContext": {"runAsUser": 12345}}, "spec.containers[0].securityContext.runAsUser"),
        (
            {},
            {"ephemeralContainers": [shell("true", "debug", volumeMounts=[{"name": "a", "mountPath": "/a"}])]},
            "spec.ephemeralContainers[0].volumeMounts[0]",
        ),
        ({}, {"uid": "../../etc"}, "metadata.uid"),
        ({}, {"initContainers": [{"name": "init"}]}, "spec.initContainers[0].command"),
    ],
)
def test_an_unsupported_field_is_refused_by_name(
    runtime: ProcessRuntime, *, container: dict[str, Any], spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Driven(runtime, {**shell("true"), **container}, **spec)
    assert refusal.value.field == field
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("container", "spec"),
    [
        ({"volumeMounts": [TOKEN]}, {}),
        (
            {"volumeMounts": [{"name": "a", "mountPath": "/tmp"}]},
            {"volumes": [{"name": "a", "hostPath": {"path": "/tmp"}}]},
        ),
        *(
            (
                {"volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b", "readOnly": True}]},
                {"volumes": [{"name": "a", kind: {}}]},
            )
            for kind in ("configMap", "secret", "projected", "downwardAPI", "emptyDir")
        ),
        ({"securityContext": {"runAsUser": os.geteuid()}}, {}),
    ],
)
def test_a_field_with_its_default_is_accepted(
    runtime: ProcessRuntime, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert Driven(runtime, {**shell("true"), **container}, **spec).status.phase == "Pending"


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [shell("false")]},
        {"containers": [shell("true", workingDir="/tmp")]},
        {"containers": [shell("true"), shell("true", "other")]},
        {"restartPolicy": "Never"},
    ],
)
def test_a_running_command_cannot_be_changed(runtime: ProcessRuntime, spec: dict[str, Any]) -> None:
    pod = Driven(runtime, shell("true"))
    with pytest.raises(InvalidRequest):
        pod.change(**spec)


def test_an_environment_that_is_resolved_anew_changes_nothing(runtime: ProcessRuntime) -> None:
    pod = Driven(runtime, shell("true"))
    pod.change(containers=[shell("true", image="busybox:2", env=[{"name": "A", "value": "1"}])])
