"""The values: each is described, has an effect, and is validated."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from app import __version__ as app_version
from broker import __version__ as broker_version
from broker.settings import Settings as BrokerSettings
from broker.settings import variable
from tests.chart.chart import CHART, environment, refusal, render
from tests.chart.combinations import COMBINATIONS, IMAGE
from tests.server import ROOT
from vkweb import __version__ as version

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
LINES = (CHART / "values.yaml").read_text().splitlines()

CUSTOM = COMBINATIONS["somebody_elses_provider"]
POSTGRESQL = COMBINATIONS["three_nodes_on_postgresql"]
ISSUER = COMBINATIONS["a_certificate_by_cert_manager"]
SECRET = COMBINATIONS["a_certificate_from_a_secret"]
POLICY = {"networkPolicy": {"enabled": True}}
MONITOR = {"serviceMonitor": {"enabled": True}}
FLEET = COMBINATIONS["a_fleet"]
ORDINAL = {"node": {"naming": "ordinal"}}

OTHERWISE: dict[str, tuple[dict[str, Any], Any]] = {
    "image.reference": ({}, "virtual-kubelet-web:other"),
    "image.pullPolicy": ({}, "Always"),
    "imagePullSecrets": ({}, [{"name": "registry"}]),
    "fullnameOverride": ({}, "other"),
    "replicas": (ORDINAL, 2),
    "node.name": ({}, "other"),
    "node.naming": ({}, "ordinal"),
    "node.labels": ({}, {"zone": "a"}),
    "node.taint.enabled": ({}, False),
    "node.taint.key": ({}, "example.com/other"),
    "node.taint.value": ({}, "other"),
    "node.taint.effect": ({}, "NoExecute"),
    "fleet.pools": ({}, [{"name": "spot", "count": 2, "capacity": {"cpu": "8"}}]),
    "fleet.adopt": ({}, {"kwok.x-k8s.io/node": "fake"}),
    "fleet.seed": (FLEET, 7),
    "broker.env": ({}, {"POD_SYNC_WORKERS": "8"}),
    "broker.envFrom": ({}, [{"secretRef": {"name": "other"}}]),
    "broker.resources": ({}, {"limits": {"memory": "1Gi"}}),
    "provider.kind": ({"provider": {"image": {"reference": IMAGE}}}, "custom"),
    "provider.image.reference": (CUSTOM, "other:1"),
    "provider.image.pullPolicy": (CUSTOM, "Never"),
    "provider.port": ({}, 3001),
    "provider.workers": ({}, 4),
    "provider.env": ({}, {"START_DELAY": "1s"}),
    "provider.envFrom": ({}, [{"configMapRef": {"name": "other", "optional": True}}]),
    "provider.runAsUser": (CUSTOM, 7),
    "provider.probe.enabled": (CUSTOM, False),
    "provider.probe.path": (CUSTOM, "/up"),
    "provider.resources": ({}, {"limits": {"memory": "1Gi"}}),
    "database.kind": ({"database": {"existingSecret": "audit"}}, "postgresql"),
    "database.existingSecret": (POSTGRESQL, "other"),
    "database.existingSecretKey": (POSTGRESQL, "uri"),
    "data.volume": ({}, "ephemeral"),
    "data.size": ({}, "2Gi"),
    "data.storageClass": ({}, "fast"),
    "data.whenDeleted": ({}, "Delete"),
    "kubelet.port": ({}, 10350),
    "kubelet.certificate": ({"kubelet": {"secretName": "kubelet"}}, "secret"),
    "kubelet.secretName": (SECRET, "other"),
    "kubelet.issuer.name": (ISSUER, "other"),
    "kubelet.issuer.kind": (ISSUER, "Issuer"),
    "networkPolicy.enabled": ({}, True),
    "networkPolicy.kubeletFrom": (POLICY, [{"ipBlock": {"cidr": "10.0.0.0/8"}}]),
    "podDisruptionBudget.enabled": ({}, False),
    "podDisruptionBudget.maxUnavailable": ({}, "50%"),
    "serviceMonitor.enabled": ({}, True),
    "serviceMonitor.interval": (MONITOR, "1m"),
    "serviceMonitor.labels": (MONITOR, {"release": "prometheus"}),
    "serviceAccount.annotations": ({}, {"example.com/owner": "team"}),
    "podAnnotations": ({}, {"example.com/note": "a note"}),
    "podLabels": ({}, {"team": "nodes"}),
    "nodeSelector": ({}, {"disk": "ssd"}),
    "tolerations": ({}, [{"operator": "Exists"}]),
    "priorityClassName": ({}, "system-cluster-critical"),
    "terminationGracePeriodSeconds": ({}, 60),
}
"""For each value: the values that it needs to have an effect, and another valid value."""
NEEDING_EACH_OTHER = {"provider.kind", "database.kind", "kubelet.certificate"}
"""Values that require another value, which is invalid without them."""


def described(schema: dict[str, Any], *path: str) -> Iterator[tuple[str, str]]:
    """Yield every value in the schema, with its description."""
    if path:
        yield ".".join(path), schema["description"]
    for name, each in schema.get("properties", {}).items():
        if "description" in each:
            yield from described(each, *path, name)


def commented() -> Iterator[tuple[str, str]]:
    """Yield every commented value of values.yaml, with its comment."""
    path: list[str] = []
    comment: list[str] = []
    for line in LINES:
        if found := re.match(r" *# (.*)", line):
            comment.append(found[1])
            continue
        if found := re.match(r"( *)([A-Za-z]+):", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if comment:
                yield ".".join(path), " ".join(comment)
        comment = []


def with_value(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {**values, first: with_value(values.get(first, {}), rest, value) if rest else value}


def test_schema_and_comments_describe_every_value_alike() -> None:
    message = dict(described(SCHEMA))
    message.pop("global")
    assert dict(commented()) == message


def test_every_value_is_in_the_table() -> None:
    names = {name for name, _ in described(SCHEMA)} - {"global"}
    leaves = {name for name in names if not any(other.startswith(f"{name}.") for other in names)}
    assert OTHERWISE.keys() == leaves


@pytest.mark.parametrize("path", OTHERWISE)
def test_every_value_has_an_effect(path: str) -> None:
    values, other = OTHERWISE[path]
    before = render({} if path in NEEDING_EACH_OTHER else values)
    after = render(with_value(values, path, other))
    assert (after.objects, after.notes) != (before.objects, before.notes)
    if "enum" not in schema_of(path) and not isinstance(other, bool):
        assert all(part in str(after.objects) for part in parts(other))


def schema_of(path: str) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMA
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


def parts(value: object) -> Iterator[str]:
    """Yield the texts and numbers in a value, all of which are in the rendered objects."""
    if isinstance(value, Mapping):
        yield from (part for each in value.items() for part in parts(each))
    elif isinstance(value, list | tuple):
        yield from (part for each in value for part in parts(each))
    else:
        yield str(value)


def objects_of(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "properties" in schema:
        yield schema
    for each in schema.get("properties", {}).values():
        yield from objects_of(each)


def test_the_schema_is_closed() -> None:
    assert all(each["additionalProperties"] is False for each in objects_of(SCHEMA))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replica": 2}, "'replica' not allowed"),
        ({"node": {"nmae": "edge"}}, "'nmae' not allowed"),
        ({"broker": {"resources": {"requests": {"gpu": "1"}}}}, "gpu"),
        ({"node": {"name": "Edge"}}, "/node/name"),
        ({"node": {"labels": {"zone": 1}}}, "/node/labels/zone"),
        ({"node": {"taint": {"effect": "Never"}}}, "/node/taint/effect"),
        ({"node": {"taint": None}}, "taint"),
        ({"image": {"reference": "virtual-kubelet-web"}}, "/image/reference"),
        ({"replicas": 0, **ORDINAL}, "/replicas"),
        ({"replicas": 2}, "more than one node needs node.naming: ordinal"),
        ({"replicas": 2, **FLEET}, "a fleet has one"),
        ({"provider": {"port": 10250}}, "must not be kubelet.port"),
        ({"provider": {"port": 8081}}, "/provider/port"),
        ({"kubelet": {"port": 8081}}, "/kubelet/port"),
        ({"provider": {"kind": "custom"}}, "/provider/image/reference"),
        ({"provider": {"image": {"reference": IMAGE}}}, "/provider/image/reference"),
        ({"provider": {"env": {"DATABASE_URL": "sqlite:///x"}}}, "DATABASE_URL"),
        ({"provider": {"env": {"WORKERS": 2}}}, "WORKERS"),
        ({"broker": {"env": {"NODE_NAME": "edge"}}}, "NODE_NAME"),
        ({"broker": {"env": {"NOT-A-NAME": ""}}}, "NOT-A-NAME"),
        ({"broker": {"envFrom": [{"secret": "x"}]}}, "/broker/envFrom/0"),
        ({"database": {"kind": "postgresql"}}, "/database/existingSecret"),
        ({"database": {"existingSecret": "audit"}}, "/database/existingSecret"),
        ({"data": {"volume": "none"}}, "/data/volume"),
        ({"kubelet": {"certificate": "secret"}}, "/kubelet/secretName"),
        ({"kubelet": {"certificate": "cert-manager"}}, "/kubelet/issuer/name"),
        ({"kubelet": {"issuer": {"name": "ca"}}}, "/kubelet/issuer/name"),
        ({"podLabels": {"app.kubernetes.io/component": "x"}}, "app.kubernetes.io/component"),
        ({"networkPolicy": {"kubeletFrom": []}}, "/networkPolicy/kubeletFrom"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "/podDisruptionBudget/maxUnavailable"),
        ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
    ],
    ids=str,
)
def test_an_invalid_value_is_named(values: dict[str, Any], message: str) -> None:
    assert message in refusal(values)


@pytest.mark.parametrize("container", ["broker", "provider", "migrate"])
def test_variables_of_the_chart_cannot_be_set(container: str) -> None:
    """Kubernetes uses the last of two variables with one name, which would override the chart's."""
    section = "broker" if container == "broker" else "provider"
    for name in environment(render({}).container(container)):
        assert name in refusal({section: {"env": {name: "x"}}})


def test_the_broker_accepts_its_environment() -> None:
    for values in COMBINATIONS.values():
        variables = environment(render(values).container("broker"))
        variables.pop("POD_INDEX", None)
        assert variables.keys() <= {variable(name) for name in BrokerSettings.model_fields}
        given = variables | {"VKUBELET_POD_IP": "192.0.2.1", "LEASE_IDENTITY": "the-uid-of-the-pod"}
        given["NODE_NAME"] = given["NODE_NAME"].replace("$(POD_INDEX)", "0")
        settings = BrokerSettings.load([], given)
        assert (settings.taint is None) == (not values.get("node", {}).get("taint", {}).get("enabled", True))
        assert settings.labels == values.get("node", {}).get("labels", {})


def test_the_version_is_the_projects() -> None:
    assert version == app_version == broker_version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "vkweb.__version__"}
    chart = (CHART / "Chart.yaml").read_text()
    assert f"\nversion: {version}\nappVersion: {version}\n" in chart
    assert render({}).container("broker")["image"] == f"virtual-kubelet-web:{version}"
