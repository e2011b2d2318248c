import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.errors import InvalidRequest
from app.kubernetes.manifest import Manifest
from tests.app.simulation import (
    LEAST,
    NESTS,
    REMOVED,
    SECRET,
    full_pod,
    json_values,
    parse_manifest,
    with_field,
)

# Accepted pods


def test_fields_used_by_the_provider_are_decoded() -> None:
    pod = parse_manifest(full_pod()).pod
    assert (pod.metadata.namespace, pod.metadata.name, pod.metadata.generation) == ("default", "web-0", 1)
    assert pod.metadata.uid == "2b0fba1b-6627-4b32-9948-9f415a2c5ecb"
    assert [container.name for container in pod.spec.all_containers] == ["web", "log", "fetch", "debug"]
    web = pod.spec.containers[0]
    assert (web.image, web.command, web.args) == ("nginx:1.27", ["run"], ["--fast"])
    assert web.ports
    assert (web.ports[0].container_port, web.ports[0].protocol) == (80, "TCP")
    assert web.resources
    assert web.resources.requests == {"cpu": "100m", "memory": 1024}


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(json.loads(LEAST), id="least"),
        pytest.param({**full_pod(), "kind": "Pod", "apiVersion": "v1"}, id="kind"),
        pytest.param({**full_pod(), "kind": ""}, id="empty kind"),
        pytest.param({**full_pod(), "kind": None, "apiVersion": None}, id="null kind"),
        pytest.param({**full_pod(), "status": {}}, id="empty status"),
        pytest.param({**full_pod(), "status": None}, id="null status"),
        pytest.param({**full_pod(), "status": ["what", "ever"]}, id="any status"),
        pytest.param({**full_pod(), "future": {"field": [1]}}, id="unknown field"),
        pytest.param(with_field("metadata.uid", None), id="null uid"),
        pytest.param(with_field("metadata.uid", ""), id="empty uid"),
        pytest.param(with_field("metadata.creationTimestamp", None), id="null time"),
        pytest.param(with_field("metadata.managedFields", None), id="null managed fields"),
        pytest.param(with_field("metadata.name", "x" * 253), id="longest name"),
        pytest.param(with_field("spec.initContainers", None), id="null init containers"),
        pytest.param(with_field("spec.ephemeralContainers", None), id="null ephemeral containers"),
        pytest.param(with_field("spec.hostNetwork", None), id="null host network"),
        pytest.param(with_field("spec.resources", None), id="null resources"),
        pytest.param(
            with_field(
                "spec.containers.0",
                dict.fromkeys(
                    (
                        "image", "command", "args", "ports", "resources", "restartPolicy", "env", "volumeMounts",
                        "startupProbe", "readinessProbe", "livenessProbe", "restartPolicyRules", "resizePolicy",
                    )
                )
                | {"name": "c"},
            ),
            id="null fields of a container",
        ),
        pytest.param(with_field("metadata.annotations", None), id="null annotations"),
        pytest.param(with_field("metadata.annotations", {"a": None}), id="null annotation"),
        pytest.param(with_field("metadata.ownerReferences", [{"kind": None}]), id="null kind of an owner"),
        pytest.param(with_field("spec.activeDeadlineSeconds", None), id="null deadline"),
        pytest.param(with_field("spec.containers.0.startupProbe", {"periodSeconds": None}), id="null period"),
        pytest.param(with_field("spec.containers.0.resources", {"requests": None, "limits": None}), id="nulls"),
        pytest.param(with_field("spec.containers.0.env", [None, 1, {}, {"name": None}, {"name": []}]), id="env"),
        pytest.param(with_field("metadata.labels", {"a": "\0 \n", "": "😀"}), id="any text"),
    ],
)  # fmt: skip
def test_a_pod_is_accepted(pod: dict[str, Any]) -> None:
    assert parse_manifest(pod).pod.metadata.namespace in ("default", "b")


# Refused pods


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("metadata", REMOVED, "metadata"),
        ("metadata", None, "metadata"),
        ("metadata", [], "metadata"),
        ("metadata.name", REMOVED, "metadata.name"),
        ("metadata.name", None, "metadata.name"),
        ("metadata.name", "", "metadata.name"),
        ("metadata.name", 5, "metadata.name"),
        ("metadata.name", "x" * 254, "metadata.name"),
        ("metadata.name", "a\nb", "metadata.name"),
        ("metadata.name", "a\0b", "metadata.name"),
        ("metadata.namespace", REMOVED, "metadata.namespace"),
        ("metadata.namespace", None, "metadata.namespace"),
        ("metadata.namespace", "", "metadata.namespace"),
        ("metadata.namespace", {}, "metadata.namespace"),
        ("metadata.namespace", "a\0b", "metadata.namespace"),
        ("metadata.uid", 5, "metadata.uid"),
        ("metadata.uid", "a\0b", "metadata.uid"),
        ("metadata.uid", "x" * 254, "metadata.uid"),
        ("metadata.generation", "1", "metadata.generation"),
        ("metadata.generation", 1.5, "metadata.generation"),
        ("metadata.generation", 10**30, "metadata.generation"),
        ("kind", "Deployment", "kind"),
        ("kind", 5, "kind"),
        ("spec", REMOVED, "spec"),
        ("spec", None, "spec"),
        ("spec", "x", "spec"),
        ("spec.containers", REMOVED, "spec.containers"),
        ("spec.containers", None, "spec.containers"),
        ("spec.containers", [], "spec.containers"),
        ("spec.containers", {}, "spec.containers"),
        ("spec.containers.1", None, "spec.containers[1]"),
        ("spec.containers.1", "x", "spec.containers[1]"),
        ("spec.containers.1.name", REMOVED, "spec.containers[1].name"),
        ("spec.containers.1.name", None, "spec.containers[1].name"),
        ("spec.containers.1.name", "", "spec.containers[1].name"),
        ("spec.containers.1.name", 5, "spec.containers[1].name"),
        ("spec.containers.1.name", "a\0b", "spec.containers[1].name"),
        ("spec.containers.1.name", "web", "spec.containers[1].name"),
        ("spec.containers.0.image", 5, "spec.containers[0].image"),
        ("spec.containers.0.command", "run", "spec.containers[0].command"),
        ("spec.containers.0.command.0", 5, "spec.containers[0].command[0]"),
        ("spec.containers.0.args.0", None, "spec.containers[0].args[0]"),
        ("spec.containers.0.ports", {}, "spec.containers[0].ports"),
        ("spec.containers.0.ports.0", None, "spec.containers[0].ports[0]"),
        ("spec.containers.0.ports.0.containerPort", REMOVED, "spec.containers[0].ports[0].containerPort"),
        ("spec.containers.0.ports.0.containerPort", "80", "spec.containers[0].ports[0].containerPort"),
        ("spec.containers.0.ports.0.containerPort", 2**70, "spec.containers[0].ports[0].containerPort"),
        ("spec.containers.0.ports.0.protocol", 6, "spec.containers[0].ports[0].protocol"),
        ("spec.containers.0.resources", [], "spec.containers[0].resources"),
        ("spec.containers.0.resources.requests", [], "spec.containers[0].resources.requests"),
        ("spec.containers.0.resources.limits.cpu", {}, "spec.containers[0].resources.limits[...]"),
        ("spec.containers.0.resources.limits.cpu", True, "spec.containers[0].resources.limits[...]"),
        ("spec.containers.0.restartPolicy", False, "spec.containers[0].restartPolicy"),
        ("spec.initContainers", {}, "spec.initContainers"),
        ("spec.initContainers.0.name", REMOVED, "spec.initContainers[0].name"),
        ("spec.initContainers.0.name", "web", "spec.initContainers[0].name"),
        ("spec.initContainers.0.restartPolicy", 5, "spec.initContainers[0].restartPolicy"),
        ("spec.ephemeralContainers.0.name", "", "spec.ephemeralContainers[0].name"),
        ("spec.ephemeralContainers.0.name", "fetch", "spec.ephemeralContainers[0].name"),
        ("spec.hostNetwork", "true", "spec.hostNetwork"),
        ("spec.resources", "x", "spec.resources"),
        ("spec.resources.limits", 5, "spec.resources.limits"),
        ("metadata.annotations", [], "metadata.annotations"),
        ("metadata.annotations", {"a": 5}, "metadata.annotations[...]"),
        ("metadata.ownerReferences", {}, "metadata.ownerReferences"),
        ("metadata.ownerReferences", [{"kind": 5}], "metadata.ownerReferences[0].kind"),
        ("spec.restartPolicy", 5, "spec.restartPolicy"),
        ("spec.activeDeadlineSeconds", "5", "spec.activeDeadlineSeconds"),
        ("spec.activeDeadlineSeconds", -1, "spec.activeDeadlineSeconds"),
        ("spec.activeDeadlineSeconds", 2**31, "spec.activeDeadlineSeconds"),
        ("spec.terminationGracePeriodSeconds", 1.5, "spec.terminationGracePeriodSeconds"),
        ("spec.readinessGates", [{}], "spec.readinessGates[0].conditionType"),
        ("spec.containers.0.startupProbe", [], "spec.containers[0].startupProbe"),
        ("spec.containers.0.livenessProbe", {"periodSeconds": "1"},
         "spec.containers[0].livenessProbe.periodSeconds"),
        ("spec.containers.0.readinessProbe", {"successThreshold": 2**31},
         "spec.containers[0].readinessProbe.successThreshold"),
        ("spec.containers.0.restartPolicyRules", [{}], "spec.containers[0].restartPolicyRules[0].action"),
        ("spec.containers.0.restartPolicyRules",
         [{"action": "Restart", "exitCodes": {"operator": "In", "values": ["1"]}}],
         "spec.containers[0].restartPolicyRules[0].exitCodes.values[0]"),
        ("spec.containers.0.resizePolicy", [{"resourceName": "cpu"}],
         "spec.containers[0].resizePolicy[0].restartPolicy"),
        ("spec.ephemeralContainers.0.resources", {"limits": {"memory": "1m30s"}},
         "spec.ephemeralContainers[0].resources.limits.memory"),
    ],
)  # fmt: skip
def test_an_invalid_pod_is_refused_by_field(path: str, value: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_manifest(with_field(path, value))
    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata.name", REMOVED, "metadata.name: required"),
        ("metadata.name", "", "metadata.name: required"),
        ("spec", REMOVED, "spec: required"),
        ("spec.containers", [], "spec.containers: at least one is required"),
        ("kind", "Deployment", "kind: must be Pod"),
        ("metadata.name", "x" * 254, "metadata.name: longer than 253 characters"),
        ("spec.containers", [None], "spec.containers[0]: expected `object`, got `null`"),
        ("metadata.uid", 5, "metadata.uid: expected `str | null`, got `int`"),
    ],
)  # fmt: skip
def test_a_refusal_states_the_problem(path: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_manifest(with_field(path, value))
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"metadata":',
        b"not json",
        b"{'metadata': {}}",
        b"{}}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e400}',
        b'{"a": 01}',
        b'{"a": "\x01"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a": "ä"}'.encode("latin-1"),
        '{"a": "b"}'.encode("utf-16"),
        b"/* comment */ {}",
        b"\x00",
    ],
)
def test_invalid_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body is not JSON: ") as refusal:
        Manifest.parse(body)
    assert refusal.value.field is None


@pytest.mark.parametrize("body", [b"null", b"true", b"1", b'"pod"', b"[]", b'[{"metadata": {}}]'])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body must be a Pod, a JSON object"):
        Manifest.parse(body)


def refusal_of(body: bytes) -> str:
    """Return why a body is refused, None if it is accepted; let any other exception pass."""
    try:
        Manifest.parse(body)
    except InvalidRequest as exc:
        return str(exc)
    return ""


@given(st.binary() | st.text().map(str.encode) | json_values().map(json.dumps).map(str.encode))
def test_any_bytes_are_accepted_or_refused(body: bytes) -> None:
    refusal_of(body)


def paths(value: Any, prefix: str = "") -> list[str]:
    """Yield every path in a document."""
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(str(index), member) for index, member in enumerate(value)]
    below = [(f"{prefix}{key}", member) for key, member in items if "." not in key]
    return [path for path, member in below for path in (path, *paths(member, f"{path}."))]


oddities = json_values() | st.sampled_from(
    [
        "\ud800",
        "\0",
        "\x7f",
        "",
        float("nan"),
        float("inf"),
        10**400,
        2**63,
        2**64,
        -(2**63) - 1,
        -0.0,
        1e308,
        [[]],
    ]
)
secrets = st.sampled_from([SECRET, [SECRET], {"name": SECRET}, [{"name": SECRET, "env": SECRET}]])


@given(st.sampled_from(paths(full_pod())), oddities | secrets | st.just(REMOVED))
@example("metadata.uid", "\0")
@example("spec.containers.0.env", [{"name": 5}, {"name": None}, 7])
@example("spec.containers.0.resources.requests.cpu", 2**64)
def test_no_error_quotes_a_value_of_the_pod(path: str, value: Any) -> None:
    assert SECRET not in refusal_of(json.dumps(with_field(path, value)).encode())


@pytest.mark.parametrize("depth", [100, 253, 300, 1000, 1020, 1100, 100_000])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("%s", id="body"),
        pytest.param(LEAST[:-1] + ',"future":%s}', id="future"),
        pytest.param(LEAST[:-1] + ',"status":%s}', id="status"),
        pytest.param(LEAST.replace("}]}}", '}],"future":%s}}'), id="spec"),
        pytest.param(LEAST.replace('"b"}', '"b","future":%s}'), id="metadata"),
        pytest.param(LEAST.replace('"c"}', '"c","env":[%s]}'), id="env"),
    ],
)
def test_deep_nesting_is_accepted_or_refused(body: str, depth: int) -> None:
    for nest in NESTS.values():
        refusal_of((body % nest(depth)).encode())


# A pod without a UID


@pytest.mark.parametrize("uid", [REMOVED, None, ""], ids=["missing", "null", "empty"])
def test_a_pod_without_uid_can_get_one(uid: object) -> None:
    manifest = parse_manifest(with_field("metadata.uid", uid)).with_uid("u-1")
    assert manifest.pod.metadata.uid == "u-1"
    assert json.loads(manifest.text)["metadata"]["uid"] == "u-1"
    assert Manifest.parse(manifest.text.encode()) == manifest
    assert manifest.digest == parse_manifest(full_pod()).digest


def test_an_added_uid_changes_no_other_byte() -> None:
    text = '{"metadata":{"name":"a","namespace":"b"%s},"spec":{"containers":[{"name":"c"}],"x":[1.0,1e2]}}'
    assert Manifest.parse((text % "").encode()).with_uid("u-1").text == text % ',"uid":"u-1"'


# Threads


FIRST_AT_ONCE = """
import os, sys, threading
from app.kubernetes.manifest import Manifest, parse_reference
body = b'{"metadata": {"namespace": "default", "name": "web"}, "spec": {"containers": [{"name": "web"}]}}'
def parse(begin):
    begin.wait()
    Manifest.parse(body), parse_reference(body)
for _ in range(20):
    if (child := os.fork()) == 0:
        sys.setswitchinterval(1e-6)
        begin = threading.Barrier(8)
        threads = [threading.Thread(target=parse, args=(begin,)) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_the_first_pods_may_be_parsed_concurrently() -> None:
    """Without the decoders that the import makes, one in 2 to one in 14 processes is killed by a signal."""
    assert subprocess.run([sys.executable, "-c", FIRST_AT_ONCE], check=False).returncode == 0
