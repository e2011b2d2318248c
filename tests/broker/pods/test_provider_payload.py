"""The payload for a provider and its digest."""

import json
from copy import deepcopy
from typing import Any

import pytest

from broker.pods.env import ContainerEnvironment
from broker.pods.provider_payload import digest, environment_in, payload
from tests.pods import a_container, a_pod

Object = dict[str, Any]
ENVIRONMENT = {"web": [{"name": "A", "value": "1"}]}
ENVIRONMENTS = {"web": ContainerEnvironment(ENVIRONMENT["web"])}


def sent() -> Object:
    container = a_container(envFrom=[{"configMapRef": {"name": "config"}}], env=[{"name": "A", "value": "$(B)"}])
    metadata = {"managedFields": [{"manager": "kubectl"}], "annotations": {"a": "1"}}
    return payload(
        {"kind": "Pod", "apiVersion": "v1", **a_pod(uid="uid-1", containers=[container], metadata=metadata)},
        ENVIRONMENTS,
    )


def test_the_payload_contains_the_environment() -> None:
    (container,) = sent()["spec"]["containers"]
    assert container["env"] == ENVIRONMENT["web"]
    assert "envFrom" not in container


def test_the_payload_has_status_and_no_managed_fields() -> None:
    assert sent().keys() == {"metadata", "spec", "status"}
    assert "managedFields" not in sent()["metadata"]
    pod = a_pod()
    del pod["status"]
    assert payload(pod, ENVIRONMENTS)["status"] == {}


def test_the_pod_is_not_modified() -> None:
    pod = a_pod()
    before = deepcopy(pod)
    payload(pod, ENVIRONMENTS)
    assert pod == before


def with_status(pod: Object) -> None:
    pod["status"] = {"phase": "Running"}


def with_version(pod: Object) -> None:
    pod["metadata"]["resourceVersion"] = "999"


def with_nulls(pod: Object) -> None:
    pod["metadata"]["ownerReferences"] = None
    pod["spec"]["volumes"] = []
    pod["spec"]["securityContext"] = {}
    pod["spec"]["hostname"] = ""


def with_other_order(pod: Object) -> None:
    pod["spec"] = dict(reversed(pod["spec"].items()))


def with_label(pod: Object) -> None:
    pod["metadata"]["labels"]["new"] = "1"


def with_image(pod: Object) -> None:
    pod["spec"]["containers"][0]["image"] = "nginx:2"


def with_environment(pod: Object) -> None:
    pod["spec"]["containers"][0]["env"][0]["value"] = "2"


def with_false(pod: Object) -> None:
    pod["spec"]["hostNetwork"] = False


@pytest.mark.parametrize("edit", [with_status, with_version, with_nulls, with_other_order])
def test_irrelevant_fields_do_not_change_the_digest(edit: Any) -> None:
    pod = sent()
    edit(pod)
    assert digest(pod) == digest(sent())


@pytest.mark.parametrize("edit", [with_label, with_image, with_environment, with_false])
def test_relevant_fields_change_the_digest(edit: Any) -> None:
    pod = sent()
    before = digest(pod)
    edit(pod)
    assert digest(pod) != before


def test_the_environment_is_read_from_a_provider_copy() -> None:
    copy = json.loads(json.dumps(sent()))
    assert environment_in(copy) == ENVIRONMENT


def test_an_incomplete_environment_is_sent_and_never_read() -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    env_from = [{"configMapRef": {"name": "config"}}]
    sent = payload(a_pod(), {"web": ContainerEnvironment(env, env_from, "missing")})
    (container,) = sent["spec"]["containers"]
    assert (container["env"], container["envFrom"]) == (env, env_from)
    assert environment_in(sent) == {}


@pytest.mark.parametrize("copy", [{}, {"spec": None}, {"spec": {"containers": [{"name": "web", "env": None}]}}])
def test_a_copy_without_env_has_no_environment(copy: Object) -> None:
    assert environment_in(copy) == {}
