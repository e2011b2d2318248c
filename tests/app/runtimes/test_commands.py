"""The command and the environment of a container, for runtimes that start it."""

from datetime import UTC, datetime
from typing import Any

import orjson

from app.kubernetes import Manifest
from app.runtimes import AcceptedPod, ContainerCommand, Placement, container_command
from tests.pods import a_pod


def command_of(**container: Any) -> ContainerCommand:
    manifest = Manifest.parse(orjson.dumps(a_pod(containers=[{"name": "web", **container}])))
    placement = Placement(host_ips=("10.0.0.1",), pod_ip="10.1.0.7")
    pod = AcceptedPod(manifest=manifest, placement=placement, accepted_at=datetime(2026, 11, 28, tzinfo=UTC))
    return container_command(pod, manifest.pod.spec.containers[0])


def test_variables_are_put_into_the_words() -> None:
    env = [
        {"name": "WHO", "value": "a pod"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    found = command_of(command=["serve", "$(IP):80"], args=["$(WHO)", "$(NOBODY)", "$$(WHO)"], env=env)

    assert found.argv == ["serve", "10.1.0.7:80", "a pod", "$(NOBODY)", "$(WHO)"]


def test_the_environment_is_that_of_the_pod() -> None:
    env = [
        {"name": "EMPTY"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "URL", "value": "http://$(NODE)"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
    ]
    expected = {
        "PATH": "/bin:/usr/bin",
        "HOSTNAME": "web-0",
        "EMPTY": "",
        "NODE": "10.0.0.1",
        "URL": "http://10.0.0.1",
    }

    assert command_of(env=env).env == expected


def test_the_pod_can_set_each_variable() -> None:
    found = command_of(env=[{"name": "PATH", "value": "/opt/bin"}, {"name": "HOSTNAME", "value": "other"}])

    assert (found.argv, found.env) == ([], {"PATH": "/opt/bin", "HOSTNAME": "other"})
