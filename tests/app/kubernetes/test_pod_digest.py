"""The bytes that a manifest keeps, and the fields that count as a change."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kubernetes.manifest import Manifest
from tests.app.simulation import LEAST, REMOVED, full_pod, json_values, parse_manifest, with_field

RECORDING = Path(__file__).parents[2] / "data" / "original-broker.jsonl"


def parse_text(text: str) -> Manifest:
    return Manifest.parse(text.encode())


def pod_with(field: str) -> str:
    """Return a small pod as JSON, with another field in its spec."""
    return LEAST.replace("}]}}", "}]," + field + "}}")


# Kept bytes


def test_the_text_omits_whitespace_status_and_managed_fields() -> None:
    body = """
    {
      "status" : {"phase": "Failed"},
      "kind": "Pod",
      "metadata": { "name":"a", "managedFields": [ {"manager": "kubectl"} ], "namespace":"b", "x.y/z": "a  b" },
      "spec" : { "containers" : [ {"name":"c", "env" : null} ] , "future" : [ 1.0 , 1, -0 ] }
    }
    """
    assert parse_text(body).text == (
        '{"kind":"Pod","metadata":{"name":"a","namespace":"b","x.y/z":"a  b"},'
        '"spec":{"containers":[{"name":"c","env":null}],"future":[1.0,1,-0]}}'
    )


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "1.0",
        "1e3",
        "1E+3",
        "-0",
        "0.10",
        "18446744073709551616",
        "123456789012345678901234567890.123456789012345678901234567890",
        '"\\u00e9"',
        '"é"',
        '"\\/"',
        '"\\u0000"',
        '"a  \\n  b"',
        '"\\ud83d\\ude00"',
        "null",
        "[]",
        "{}",
        '{"b":1,"a":2}',
        '{"":{"":[]}}',
    ],
)
def test_an_unread_value_is_kept_verbatim(value: str) -> None:
    text = pod_with(f'"future":{value}')
    assert parse_text(text).text == text


def test_the_order_of_keys_and_lists_is_kept() -> None:
    text = (
        '{"z":1,"spec":{"z":[3,1,2],"containers":[{"z":1,"name":"c","a":2}]},'
        '"metadata":{"namespace":"b","name":"a"}}'
    )
    assert parse_text(text).text == text


def test_an_escaped_status_key_is_dropped_too() -> None:
    assert parse_text(LEAST[:-1] + ',"st\\u0061tus":{"phase":"Failed"}}').text == LEAST


def test_a_nested_status_field_is_kept() -> None:
    text = pod_with('"status":{"phase":"x"},"managedFields":[1]')
    assert parse_text(text).text == text


def test_the_last_of_duplicate_keys_counts() -> None:
    manifest = parse_text('{"metadata":{"name":"x"},"spec":5,' + pod_with('"x":1')[1:])
    assert manifest.pod.metadata.name == "a"
    assert manifest.text == pod_with('"x":1')
    assert manifest.digest == parse_text(pod_with('"x":1')).digest


def exact(text: str, *, without: frozenset[str] = frozenset()) -> Any:
    """Decode JSON without loss: numbers as text, objects as pairs."""

    def pairs(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [item for item in items if item[0] not in without]

    return json.loads(text, object_pairs_hook=pairs, parse_int=str, parse_float=str)


@given(json_values(), json_values())
def test_the_text_keeps_every_other_field(in_spec: Any, in_metadata: Any) -> None:
    pod = with_field("spec.future", in_spec)
    pod["metadata"]["future"] = in_metadata
    body = json.dumps(pod, indent=1)
    dropped = frozenset({"status", "managedFields"})
    kept = parse_text(body).text
    assert exact(kept) == exact(body, without=dropped)
    assert parse_text(kept).text == kept


def test_a_stored_text_parses_to_the_same_manifest() -> None:
    manifest = parse_manifest(full_pod())
    assert parse_text(manifest.text) == manifest


# Changes


def with_env(order: list[int], containers: str = "containers") -> dict[str, Any]:
    pod = full_pod()
    container = pod["spec"][containers][0]
    container["env"] = [container["env"][index] for index in order]
    return pod


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(member) for key, member in reversed(value.items())}
    return [reversed_keys(member) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(with_env([2, 0, 1]), id="order of the environment"),
        pytest.param(with_env([2, 0, 1], "initContainers"), id="of an init container"),
        pytest.param(with_env([2, 0, 1], "ephemeralContainers"), id="of an ephemeral container"),
        pytest.param(reversed_keys(full_pod()), id="order of keys"),
        pytest.param(with_field("metadata.resourceVersion", "999"), id="resource version"),
        pytest.param(with_field("metadata.resourceVersion", REMOVED), id="no resource version"),
        pytest.param(with_field("metadata.managedFields", [{"manager": "x"}, {}]), id="managed fields"),
        pytest.param(with_field("metadata.managedFields", REMOVED), id="no managed fields"),
        pytest.param(with_field("status", {"phase": "Running", "podIP": "10.0.0.1"}), id="status"),
        pytest.param(with_field("status", REMOVED), id="no status"),
        pytest.param(with_field("status", None), id="null status"),
        pytest.param(with_field("kind", "Pod"), id="kind"),
        pytest.param(with_field("apiVersion", "v1"), id="API version"),
        pytest.param(with_field("future", None), id="null at the top"),
        pytest.param(with_field("metadata.deletionTimestamp", None), id="null in the metadata"),
        pytest.param(with_field("spec.affinity", None), id="null in the spec"),
        pytest.param(with_field("spec.containers.1.command", None), id="null in a container"),
        pytest.param(with_field("spec.containers.0.env.0.valueFrom", None), id="null in a variable"),
        pytest.param(with_field("spec.volumes.0.emptyDir.sizeLimit", None), id="null in a volume"),
    ],
)
def test_an_equivalent_pod_has_the_same_digest(pod: dict[str, Any]) -> None:
    assert parse_manifest(pod).digest == parse_manifest(full_pod()).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.labels.app", "db"),
        ("metadata.labels.new", "x"),
        ("metadata.labels", REMOVED),
        ("metadata.annotations.note", "b"),
        ("metadata.generation", 2),
        ("metadata.deletionTimestamp", "2026-11-22T08:47:00Z"),
        ("metadata.name", "web-1"),
        ("metadata.namespace", "other"),
        ("metadata.future", 1),
        ("spec.containers.0.image", "nginx:1.28"),
        ("spec.containers.0.command", ["run", "more"]),
        ("spec.containers.0.env.1.value", "another"),
        ("spec.containers.0.env.1.name", "D"),
        ("spec.containers.0.env.1", REMOVED),
        ("spec.containers.0.resources.limits.cpu", "2"),
        ("spec.containers.1", REMOVED),
        ("spec.initContainers.0.image", "busybox:2"),
        ("spec.initContainers.0.env.0.value", "2"),
        ("spec.ephemeralContainers", REMOVED),
        ("spec.activeDeadlineSeconds", 60),
        ("spec.hostNetwork", True),
        ("spec.hostNetwork", REMOVED),
        ("spec.future", [1]),
        ("future", {"a": 1}),
    ],
)  # fmt: skip
def test_a_change_has_another_digest(path: str, value: Any) -> None:
    assert parse_manifest(with_field(path, value)).digest != parse_manifest(full_pod()).digest


def test_reordered_containers_or_arguments_are_a_change() -> None:
    containers = full_pod()["spec"]["containers"]
    assert (
        parse_manifest(with_field("spec.containers", containers[::-1])).digest != parse_manifest(full_pod()).digest
    )
    orders = [["a", "b"], ["b", "a"]]
    first, second = (parse_manifest(with_field("spec.containers.0.args", order)).digest for order in orders)
    assert first != second


def test_reordered_duplicate_variables_are_a_change() -> None:
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    orders = [twice, twice[::-1]]
    first, second = (parse_manifest(with_field("spec.containers.0.env", order)).digest for order in orders)
    assert first != second


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("1", "true"), ("1", '"1"'), ("[]", "{}"), ('""', "[]")])
def test_values_that_are_nearly_equal_are_a_change(one: str, other: str) -> None:
    first, second = (parse_text(pod_with(f'"future":{value}')).digest for value in (one, other))
    assert first != second


@given(st.permutations([0, 1, 2]), st.booleans(), st.integers(), json_values())
def test_an_update_storm_has_one_digest(order: list[int], reverse: bool, version: int, status: Any) -> None:
    pod = with_env(order)
    pod["metadata"]["resourceVersion"] = str(version)
    pod["status"] = status
    again = json.dumps(reversed_keys(pod) if reverse else pod, indent=1)
    assert parse_text(again).digest == parse_manifest(full_pod()).digest


def recorded() -> dict[str, dict[str, list[Manifest]]]:
    """Return the pods that the original broker sent: UID, verb, bodies."""
    pods: dict[str, dict[str, list[Manifest]]] = {}
    for line in RECORDING.read_text().splitlines():
        request = json.loads(line)
        if request["body"]:
            manifest = parse_manifest(request["body"])
            uid = manifest.pod.metadata.uid or ""
            pods.setdefault(uid, {}).setdefault(request["method"], []).append(manifest)
    return pods


def test_updates_of_the_original_broker_change_nothing() -> None:
    pods = recorded()
    assert sum(len(pod["PUT"]) for pod in pods.values()) == 13
    for pod in pods.values():
        (created,) = pod["POST"]
        assert {update.digest for update in pod["PUT"]} == {created.digest}
        assert len({update.text for update in pod["PUT"]}) > 1  # although the bytes differ


def test_a_pod_that_is_being_deleted_has_changed() -> None:
    pods = recorded().values()
    deleted = [(pod["POST"][0].digest, pod["DELETE"][0].digest) for pod in pods if "DELETE" in pod]
    assert len(deleted) == 3
    assert all(created != with_field for created, with_field in deleted)
