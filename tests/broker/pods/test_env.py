"""The environment of a container, as a kubelet resolves it."""

from typing import Any

import pytest

from broker.kubernetes.pods import containers
from broker.node_info import NodeInfo
from broker.pods.env import (
    ContainerEnvironment,
    EnvironmentProblem,
    Reference,
    ResolvedEnvironments,
    Sources,
    Unreadable,
    is_resolved,
    references,
    resolve,
)
from tests.pods import a_container, a_pod

Object = dict[str, Any]
CONFIG, SECRET = Reference("ConfigMap", "config"), Reference("Secret", "password")
SERVICES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def variable(name: str, kind: str | None = None, /, **source: Any) -> Object:
    """A variable with a value, or with a source of a kind."""
    return {"name": name, "valueFrom": {kind: source}} if kind else {"name": name, **source}


def resolved(
    *env: Object,
    env_from: list[Object] | None = None,
    sources: Sources | None = None,
    services: dict[str, str] | None = None,
    pod: Object | None = None,
    **container: Any,
) -> ResolvedEnvironments:
    of = a_pod(containers=[a_container(env=list(env), envFrom=env_from or [], **container)], **pod or {})
    node = NodeInfo(
        "node-1",
        allocatable={"cpu": "4", "memory": "8Gi"},
        addresses=[
            {"type": "Hostname", "address": "node-1"},
            {"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"},
        ],
    )
    return resolve(of, containers(of), sources=sources or {}, services=services or {}, node=node)


def values(resolution: ResolvedEnvironments) -> dict[str, str]:
    """The variables that have a value, in order."""
    return {v["name"]: v["value"] for v in resolution.environments["web"].env if "value" in v}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("$(A)", "1", id="a variable before it"),
        pytest.param("$(A)-$(A)", "1-1", id="twice"),
        pytest.param("$(LATER)", "$(LATER)", id="one after it stays"),
        pytest.param("$$(A)", "$(A)", id="escaped"),
        pytest.param("$$$(A)", "$1", id="an escaped dollar, then a variable"),
        pytest.param("$A ${A} 5$", "$A ${A} 5$", id="what is none"),
        pytest.param("$(A", "$(A", id="without an end"),
        pytest.param("$(KUBERNETES_SERVICE_HOST)", "10.0.0.1", id="of a service"),
        pytest.param("$(C)", "2", id="of a ConfigMap"),
    ],
)
def test_a_value_may_reference_earlier_variables(text: str, expected: str) -> None:
    resolution = resolved(
        variable("A", value="1"),
        variable("B", value=text),
        variable("LATER", value="3"),
        env_from=[{"configMapRef": {"name": "config"}}],
        sources={CONFIG: {"C": "2"}},
        services=SERVICES,
    )
    assert values(resolution)["B"] == expected


def test_precedence_of_env_from_env_and_services() -> None:
    resolution = resolved(
        variable("OWN", value="own"),
        variable("B", value="own"),
        env_from=[{"prefix": "P_", "configMapRef": {"name": "config"}}, {"secretRef": {"name": "password"}}],
        sources={CONFIG: {"b": "1", "a": "2"}, SECRET: {"B": "secret", "A": "secret"}},
        services={**SERVICES, "OWN": "service"},
    )
    assert values(resolution) == {
        "P_a": "2",
        "P_b": "1",
        "A": "secret",
        "B": "own",
        "OWN": "own",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }
    assert list(values(resolution)) == ["P_a", "P_b", "A", "B", "OWN", "KUBERNETES_SERVICE_HOST"]
    assert not resolution.environments["web"].missing
    assert resolution.problems == ()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web-0"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "uid-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['example.com/a']", "1"),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "robot"),
        ("status.hostIP", "192.0.2.1"),
        ("status.hostIPs", "192.0.2.1,2001:db8::1"),
    ],
)
def test_a_field_of_the_pod_is_resolved(path: str, expected: str) -> None:
    pod = {"uid": "uid-1", "metadata": {"annotations": {"example.com/a": "1"}}, "serviceAccountName": "robot"}
    resolution = resolved(variable("F", "fieldRef", fieldPath=path), pod=pod)
    assert values(resolution) == {"F": expected}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"fieldRef": {"fieldPath": "status.podIP"}}, id="the pod's address"),
        pytest.param({"fieldRef": {"fieldPath": "status.podIPs"}}, id="the pod's addresses"),
        pytest.param({"fieldRef": {"fieldPath": "status.new"}}, id="a field of a newer cluster"),
        pytest.param({"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}, id="a file"),
    ],
)
def test_unresolvable_sources_are_forwarded_in_order(source: Object) -> None:
    resolution = resolved(
        variable("A", value="1"), {"name": "P", "valueFrom": source}, variable("B", value="$(P)")
    )
    assert resolution.environments["web"].env == [
        {"name": "A", "value": "1"},
        {"name": "P", "valueFrom": source},
        {"name": "B", "value": "$(P)"},
    ]


POD_IP = variable("IP", "fieldRef", fieldPath="status.podIP")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        pytest.param("http://$(IP):80", "http://$(IP):80", id="a reference"),
        pytest.param("$(IP) $$(IP)", "$(IP) $$(IP)", id="an escaped one"),
        pytest.param("$$$(IP) $$$$(IP)", "$$$(IP) $$$$(IP)", id="after dollars"),
        pytest.param("$$ $(A) $$(A)", "$ 1 $(A)", id="of other variables"),
        pytest.param("$(PASSWORD)$(IP)", "$$(IP)$$$(IP)", id="after a value that looks like one"),
        pytest.param("$(BEFORE)", "$$(IP)", id="of a variable before the address"),
        pytest.param("$(URL)/$(IP)", "tcp://$(IP)$$(IP)/$(IP)", id="in the value of another"),
    ],
)
def test_references_to_the_address_of_the_pod_are_passed_on(text: str, sent: str) -> None:
    resolution = resolved(
        variable("A", value="1"),
        variable("BEFORE", value="$(IP)"),
        POD_IP,
        variable("PASSWORD", "secretKeyRef", name="password", key="p"),
        variable("URL", value="tcp://$(IP)$$(IP)"),
        variable("B", value=text),
        sources={SECRET: {"p": "$(IP)$"}},
    )
    assert (values(resolution)["B"], values(resolution)["BEFORE"]) == (sent, "$(IP)")


def test_a_variable_follows_the_address_to_which_it_refers() -> None:
    resolution = resolved(
        POD_IP,
        variable("B", value="$(IP)"),
        env_from=[{"configMapRef": {"name": "config"}}],
        sources={CONFIG: {"A": "1", "B": "2"}},
    )
    assert [v["name"] for v in resolution.environments["web"].env] == ["A", "IP", "B"]


def test_a_variable_that_hides_the_address_is_known() -> None:
    resolution = resolved(POD_IP, variable("IP", value="1"), variable("B", value="$(IP) $$(IP)"))
    assert values(resolution) == {"IP": "1", "B": "1 $(IP)"}


RESOURCES = {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "100M"}}


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        pytest.param("requests.cpu", "1m", "250", id="in units of the divisor"),
        pytest.param("requests.cpu", "0", "1", id="rounded up"),
        pytest.param("requests.memory", "1Mi", "64", id="request"),
        pytest.param("limits.memory", "1k", "100000", id="limit"),
        pytest.param("limits.cpu", "1", "4", id="no limit: the capacity of the node"),
        pytest.param("requests.ephemeral-storage", "1", "0", id="no request: nothing"),
    ],
)
def test_a_resource_is_resolved(resource: str, divisor: str, expected: str) -> None:
    source = variable("R", "resourceFieldRef", resource=resource, divisor=divisor)
    assert values(resolved(source, resources=RESOURCES)) == {"R": expected}


@pytest.mark.parametrize(
    ("of_container", "of_pod", "expected"),
    [
        pytest.param({"cpu": "3"}, {"cpu": "2"}, "3", id="of the container"),
        pytest.param({}, {"cpu": "2"}, "2", id="of the pod"),
        pytest.param({"cpu": "0"}, {"cpu": "2"}, "2", id="0 is no limit of a container"),
        pytest.param({}, {"cpu": "0"}, "4", id="0 is no limit of a pod"),
    ],
)
def test_a_missing_limit_is_that_of_the_pod(of_container: Object, of_pod: Object, expected: str) -> None:
    source = variable("R", "resourceFieldRef", resource="limits.cpu")
    resolution = resolved(source, resources={"limits": of_container}, pod={"resources": {"limits": of_pod}})
    assert values(resolution) == {"R": expected}


def test_a_resource_may_be_of_another_container() -> None:
    pod = a_pod(
        containers=[
            a_container(env=[variable("R", "resourceFieldRef", containerName="db", resource="limits.cpu")]),
            a_container("db", resources={"limits": {"cpu": "3"}}),
        ]
    )
    resolution = resolve(pod, containers(pod), sources={}, services={}, node=NodeInfo("node-1"))
    assert resolution.environments["web"].env == [{"name": "R", "value": "3"}]


def of_config(*, optional: bool = False, key: str | None = None) -> tuple[list[Object], list[Object]]:
    """The references to the ConfigMap: `env` and `envFrom`."""
    reference: Object = {"name": "config", **({"optional": True} if optional else {})}
    if key:
        return [variable("A", "configMapKeyRef", key=key, **reference)], []
    return [], [{"configMapRef": reference}]


MISSING: Sources = {CONFIG: None}
UNREADABLE: Sources = {CONFIG: Unreadable("Forbidden")}
EMPTY: Sources = {CONFIG: {}}


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize(
    ("key", "sources", "reason", "message"),
    [
        pytest.param(None, MISSING, "{}ConfigMapNotFound", 'configmap "config" not found', id="no object"),
        pytest.param(
            "a", MISSING, "{}ConfigMapNotFound", 'configmap "config" not found', id="no object for a key"
        ),
        pytest.param(
            "a", EMPTY, "{}ConfigMapKeyNotFound", "couldn't find key a in ConfigMap default/config", id="no key"
        ),
        pytest.param(
            None,
            UNREADABLE,
            "FailedToRead{}ConfigMap",
            'configmap "config" cannot be read: Forbidden',
            id="unreadable",
        ),
    ],
)
def test_a_missing_source_blocks_the_container_unless_optional(
    optional: bool, key: str | None, sources: Sources, reason: str, message: str
) -> None:
    env, env_from = of_config(optional=optional, key=key)
    resolution = resolved(*env, env_from=env_from, sources=sources)
    name, type_ = ("Optional", "Normal") if optional else ("Mandatory", "Warning")
    assert resolution.problems == ((reason.format(name), message, type_),)
    unresolved = ContainerEnvironment(env, env_from, message)
    assert resolution.environments["web"] == (ContainerEnvironment([], []) if optional else unresolved)


def test_an_incomplete_environment_is_resolved_in_part() -> None:
    secret = variable("S", "secretKeyRef", name="password", key="p")
    config = {"configMapRef": {"name": "config"}}
    resolution = resolved(
        variable("A", value="1"),
        secret,
        variable("B", value="2"),
        env_from=[config, {"secretRef": {"name": "password"}}],
        sources={CONFIG: None, SECRET: {"x": "3"}},
    )
    found = resolution.environments["web"]
    assert found.env == [
        {"name": "x", "value": "3"},
        {"name": "A", "value": "1"},
        secret,
        {"name": "B", "value": "2"},
    ]
    assert found.env_from == [config]
    assert found.missing == 'configmap "config" not found'


def test_a_missing_source_blocks_no_other_container() -> None:
    env, _ = of_config(key="a")
    pod = a_pod(containers=[a_container(env=env), a_container("b", env=[variable("A", value="1")])])
    found = resolve(pod, containers(pod), sources=MISSING, services={}, node=NodeInfo("node-1")).environments
    assert found["web"].missing
    assert found["b"] == ContainerEnvironment([{"name": "A", "value": "1"}], [])


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        pytest.param({"env": [variable("A", value="1")]}, True, id="values"),
        pytest.param({"env": [variable("A", "fieldRef", fieldPath="status.podIP")]}, True, id="a field"),
        pytest.param({"env": [variable("A", "secretKeyRef", name="s", key="k")]}, False, id="a key"),
        pytest.param({"envFrom": [{"secretRef": {"name": "s"}}]}, False, id="an object"),
    ],
)
def test_a_container_is_resolved_without_references(container: Object, expected: bool) -> None:
    assert is_resolved(container) is expected


def test_equal_problems_are_reported_once() -> None:
    env, _ = of_config(key="a")
    pod = a_pod(containers=[a_container(env=env), a_container("b", env=env)])
    resolution = resolve(pod, containers(pod), sources=EMPTY, services={}, node=NodeInfo("node-1"))
    assert [problem.reason for problem in resolution.problems] == ["MandatoryConfigMapKeyNotFound"]


@pytest.mark.parametrize("name", ["2FA", "9KEY", "a.b", "with-dash", "a b", "!\"#%&'()*+,/:;<>?@[]^`{|}~"])
def test_printable_names_except_equals_are_variables(name: str) -> None:
    resolution = resolved(env_from=[{"secretRef": {"name": "password"}}], sources={SECRET: {name: "1"}})
    assert values(resolution) == {name: "1"}
    assert resolution.problems == ()


@pytest.mark.parametrize("name", ["a=b", "", "é", "a\tb", "a\x7f", "a\nb", "a\n"])
def test_invalid_variable_names_are_skipped_and_reported(name: str) -> None:
    resolution = resolved(
        env_from=[{"secretRef": {"name": "password"}}], sources={SECRET: {name: "hidden", "ok": "1"}}
    )
    assert values(resolution) == {"ok": "1"}
    assert not resolution.environments["web"].missing
    assert resolution.problems == (
        EnvironmentProblem(
            "InvalidEnvironmentVariableNames",
            f"Keys [{name}] from the EnvFrom secret default/password were skipped since they are considered "
            "invalid environment variable names.",
        ),
    )


def test_a_prefix_is_part_of_the_name() -> None:
    resolution = resolved(
        env_from=[
            {"prefix": "2 ", "secretRef": {"name": "password"}},
            {"prefix": "é", "secretRef": {"name": "password"}},
        ],
        sources={SECRET: {"FA": "1"}},
    )
    assert values(resolution) == {"2 FA": "1"}
    assert "Keys [éFA]" in resolution.problems[0].message


def test_every_kind_of_container_has_an_environment() -> None:
    pod = a_pod(
        containers=[a_container("c")],
        initContainers=[a_container("i")],
        ephemeralContainers=[a_container("e")],
    )
    resolution = resolve(pod, containers(pod), sources={}, services=SERVICES, node=NodeInfo("node-1"))
    assert set(resolution.environments) == {"i", "c", "e"}
    assert all(found.env for found in resolution.environments.values())


def test_each_reference_is_returned_once() -> None:
    env, env_from = of_config(key="a")
    secret = variable("S", "secretKeyRef", name="password", key="p")
    pod = a_pod(containers=[a_container(env=[*env, secret], envFrom=env_from), a_container("b", env=env)])
    assert references(containers(pod)) == [CONFIG, SECRET]
