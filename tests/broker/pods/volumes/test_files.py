"""The files of a volume."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.node_info import NodeInfo
from broker.pods.env import Unreadable
from broker.pods.object_cache import Found, ObjectId
from broker.pods.volumes.files import Context, Problem, Volume, VolumeSource, object_ids, resolve
from broker.pods.volumes.tokens import Token, TokenSpec
from tests.pods import a_container, a_pod

Object = dict[str, Any]
NODE = NodeInfo("node-1", allocatable={"cpu": "4", "memory": "8Gi"})
CONFIG: Object = {
    "metadata": {"name": "config", "resourceVersion": "7"},
    "data": {"a": "1", "b": "ä"},
    "binaryData": {"c": base64.b64encode(b"\xff").decode()},
}
SECRET: Object = {"metadata": {"name": "password", "resourceVersion": "8"}, "data": {"p": "aHVudGVyMg=="}}
TOKEN = Token("secret-token", "1764264000", datetime(2026, 11, 27, tzinfo=UTC))
ITEMS = [{"key": "a", "path": "sub/x", "mode": 0o400}, {"key": "c", "path": "y"}]


def context(config: Found = CONFIG, *, pod: Object | None = None) -> Context:
    objects: dict[ObjectId, Found] = {
        ObjectId("ConfigMap", "default", "config"): config,
        ObjectId("Secret", "default", "password"): SECRET,
    }
    tokens: dict[TokenSpec, Token | Problem] = {
        TokenSpec("", 3607): TOKEN,
        TokenSpec("vault", 600): Problem("failed to fetch token: injected"),
    }
    return Context(pod or a_pod("web-0", uid="uid-1"), NODE, objects, tokens)


def resolved(source: Object, config: Found = CONFIG, *, pod: Object | None = None) -> Volume:
    volume, problems = resolve({"name": "v", **source}, context(config, pod=pod))
    assert problems == []
    return volume


def contents(volume: Volume) -> dict[str, tuple[int, bytes]]:
    return {file.path: (file.mode, base64.b64decode(file.data)) for file in volume.files}


def problems(source: Object, config: Found = CONFIG) -> list[str]:
    return [problem.message for problem in resolve({"name": "v", **source}, context(config))[1]]


def projected(*sources: Object, **fields: Any) -> Object:
    return {"projected": {"sources": list(sources), **fields}}


def test_every_key_of_a_config_map_is_a_file() -> None:
    volume = resolved({"configMap": {"name": "config"}})
    assert contents(volume) == {"a": (0o644, b"1"), "b": (0o644, "ä".encode()), "c": (0o644, b"\xff")}
    assert (volume.resource_version, volume.sources) == ("7", [VolumeSource("ConfigMap", "config", "7")])


def test_a_secret_volume_has_its_default_mode() -> None:
    volume = resolved({"secret": {"secretName": "password", "defaultMode": 0o400}})
    assert contents(volume) == {"p": (0o400, b"hunter2")}


def test_items_have_their_own_paths_and_modes() -> None:
    volume = resolved({"configMap": {"name": "config", "items": ITEMS, "defaultMode": 0}})
    assert contents(volume) == {"sub/x": (0o400, b"1"), "y": (0, b"\xff")}


def test_a_later_source_replaces_a_file() -> None:
    volume = resolved(
        projected(
            {"configMap": {"name": "config"}},
            {"secret": {"name": "password", "items": [{"key": "p", "path": "a"}]}},
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            defaultMode=0o600,
        )
    )
    assert contents(volume)["a"] == (0o600, b"hunter2")
    assert contents(volume)["token"] == (0o600, b"secret-token")
    assert volume.resource_version == "7-8-1764264000"
    assert [source.kind for source in volume.sources] == ["ConfigMap", "Secret", "ServiceAccountToken"]


def test_fields_of_the_pod_are_files() -> None:
    container = a_container(resources={"limits": {"memory": "100Mi"}})
    pod = a_pod(
        "web-0", uid="uid-1", containers=[container], metadata={"annotations": {"b": 'x"\n', "a": "ü\x01"}}
    )
    items = [
        {"path": path, "fieldRef": {"fieldPath": field}}
        for path, field in {
            "name": "metadata.name",
            "app": "metadata.labels['app']",
            "labels": "metadata.labels",
            "annotations": "metadata.annotations",
        }.items()
    ] + [
        {"path": path, "resourceFieldRef": {"containerName": "web", **reference}}
        for path, reference in {
            "memory": {"resource": "limits.memory", "divisor": "1Mi"},
            "cpu": {"resource": "limits.cpu"},
        }.items()
    ]
    volume = resolved({"downwardAPI": {"items": items}}, pod=pod)
    assert {path: data.decode() for path, (_, data) in contents(volume).items()} == {
        "name": "web-0",
        "app": "web",
        "labels": 'app="web"',
        "annotations": 'a="ü\\x01"\nb="x\\"\\n"',
        "memory": "100",
        "cpu": "4",
    }
    other = resolved({"downwardAPI": {"items": items}}, pod={**pod, "metadata": {**pod["metadata"], "labels": {}}})
    assert other.resource_version != volume.resource_version


@pytest.mark.parametrize(
    ("items", "version"),
    [
        ([{"fieldPath": "metadata.namespace"}, {"fieldPath": "metadata.uid"}], ""),
        ([{"fieldPath": "metadata.name"}, {"fieldPath": "metadata.labels['app']"}], "12"),
    ],
)
def test_fields_that_change_have_the_version_of_the_pod(items: list[Object], version: str) -> None:
    pod = a_pod("web-0", uid="uid-1", metadata={"resourceVersion": "12"})
    fields = [{"path": str(number), "fieldRef": item} for number, item in enumerate(items)]
    volume = resolved({"downwardAPI": {"items": fields}}, pod=pod)
    assert volume.sources == [VolumeSource("DownwardAPI", "web-0", version)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param({"configMap": {"name": "config", "optional": True}}, {}, id="ConfigMap"),
        pytest.param(projected({"configMap": {"name": "none", "optional": True}}), {}, id="projected"),
        pytest.param({"configMap": {"name": "config", "optional": True, "items": ITEMS}}, {}, id="items"),
    ],
)
def test_an_optional_object_may_be_missing(source: Object, expected: Object) -> None:
    volume = resolved(source, None)
    assert contents(volume) == expected
    assert volume.resource_version == "0"
    assert volume.sources == []


def test_an_optional_key_may_be_missing() -> None:
    items = [*ITEMS, {"key": "none", "path": "none"}]
    volume = resolved({"configMap": {"name": "config", "optional": True, "items": items}})
    assert set(contents(volume)) == {"sub/x", "y"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"configMap": {"name": "none"}}, ['configmap "none" not found']),
        ({"configMap": {}}, ['configmap "" not found']),
        ({"secret": {"secretName": "none"}}, ['secret "none" not found']),
        (
            {"configMap": {"name": "config", "items": [{"key": "k", "path": "k"}]}},
            ["configmap references non-existent config key: k"],
        ),
        (
            {"secret": {"secretName": "password", "items": [{"key": "k", "path": "k"}]}},
            ["references non-existent secret key: k"],
        ),
        (
            projected(
                {"configMap": {"name": "none"}},
                {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": 600}},
            ),
            ['configmap "none" not found', "failed to fetch token: injected"],
        ),
        (
            {"configMap": {"name": "config", "items": [{"key": "a", "path": "../x"}]}},
            ["invalid path: must not contain '..': ../x"],
        ),
        (
            {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.nodeName"}}]}},
            ["unsupported fieldPath: spec.nodeName"],
        ),
        (
            {"downwardAPI": {"items": [{"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}}]}},
            ["container  not found"],
        ),
        (projected({"podCertificate": {}}), ["podCertificate projection is not supported by this node"]),
        (
            projected({"clusterTrustBundle": {"name": "b", "path": "b"}}),
            ["ClusterTrustBundle projection is not supported by this cluster"],
        ),
    ],
)
def test_a_volume_that_cannot_be_made_has_problems(source: Object, expected: list[str]) -> None:
    assert problems(source) == expected


def test_an_unreadable_object_is_a_problem() -> None:
    source = {"configMap": {"name": "config", "optional": True}}
    assert problems(source, Unreadable("InternalError")) == ['configmap "config" cannot be read: InternalError']


def test_other_volumes_have_no_objects() -> None:
    assert list(object_ids({"name": "v", "emptyDir": {}}, "default")) == []
