"""Audit events: one row for every write request and its outcome."""

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from flask.testing import FlaskClient

from app.db.engine import Database
from app.db.models import AuditEvent
from tests.app.web.conftest import on_sqlite_alone, put_on, rows
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

SENDER = {"X-Request-ID": "req-1", "User-Agent": "Go-http-client/1.1"}

Audit = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def audit(database: Database) -> Audit:
    """Return a function that reads the audit events without their keys, with decoded changes."""

    def read() -> list[dict[str, Any]]:
        found = rows(database, AuditEvent)
        for row in found:
            row["change"] = json.loads(row["change"]) if row["change"] else None
            del row["id"]
        return found

    return read


def send(client: FlaskClient, verb: str, pod: Any) -> int:
    """Send a write with the headers above, and return the status code."""
    method, path = {
        "create": ("POST", "/createPod"),
        "update": ("PUT", "/updatePod"),
        "delete": ("DELETE", "/deletePod"),
    }[verb]
    data = pod if isinstance(pod, bytes) else json.dumps(pod).encode()
    return client.open(path, method=method, data=data, headers=SENDER).status_code


def expected(clock: Clock, verb: str, pod: dict[str, Any] | None, code: int = 200, **more: Any) -> dict[str, Any]:
    """Return the row that a write inserts."""
    metadata = pod["metadata"] if pod else {}
    return {
        "at": clock.now,
        "fleet": "virtual-kubelet-web",
        "node_name": None,
        "revision": None,
        "request_id": "req-1",
        "address": "127.0.0.1",
        "user_agent": "Go-http-client/1.1",
        "verb": verb,
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
        "code": code,
        "change": None,
        "pruned_through": None,
        "previous_hash": None,
        "hash": None,
        **more,
    }


def test_a_create_says_who_made_which_pod_when(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    pod = a_pod()

    send(client, "create", pod)

    assert audit() == [expected(clock, "create", pod, revision=1)]


def test_an_update_records_its_changed_fields(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    def env(**values: str) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in values.items()]

    old_env, new_env = env(KEPT="1", PASSWORD="old", GONE="1"), env(PASSWORD="new", ADDED="1", KEPT="1")
    old = a_pod(
        containers=[a_container("web", image="nginx:1.27", env=old_env, args=["a"])],
        metadata={"labels": {"app": "web", "tier": "front"}, "annotations": {"note": "old"}},
    )
    new = a_pod(
        uid=old["metadata"]["uid"],
        containers=[
            a_container("web", image="nginx:1.28", env=new_env, args=["b"]),
            a_container("sidecar", image="envoy:1"),
        ],
        metadata={"labels": {"app": "web"}, "annotations": {"note": "new"}, "resourceVersion": "700"},
    )
    send(client, "create", old)
    clock.advance(5)

    send(client, "update", new)

    [_, row] = audit()
    changed = row.pop("change").pop("changed")
    assert sorted(changed, key=lambda change: str(change["field"])) == [
        {"field": "metadata.annotations.note"},
        {"field": "metadata.labels.tier", "from": "front", "to": None},
        {"field": "spec.containers[sidecar]"},
        {"field": "spec.containers[web].args"},
        {"field": "spec.containers[web].env[ADDED]"},
        {"field": "spec.containers[web].env[GONE]"},
        {"field": "spec.containers[web].env[PASSWORD].value"},
        {"field": "spec.containers[web].image", "from": "nginx:1.27", "to": "nginx:1.28"},
    ]
    want = expected(clock, "update", new, revision=2)
    del want["change"]
    assert row == want


@pytest.mark.parametrize("verb", ["create", "update"])
def test_a_replacement_says_which_pod_it_replaced(
    client: FlaskClient, audit: Audit, clock: Clock, verb: str
) -> None:
    old, new = put_on(client, a_pod()), a_pod()
    clock.advance(5)

    send(client, verb, new)

    assert audit()[1:] == [expected(clock, verb, new, revision=2, change={"replaced": old["metadata"]["uid"]})]


def test_a_recreated_pod_is_recorded_as_revived(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    pod = put_on(client, a_pod())
    send(client, "delete", pod)
    clock.advance(5)

    send(client, "create", pod)

    assert audit()[2:] == [expected(clock, "create", pod, revision=3, change={"revived": pod["metadata"]["uid"]})]


def test_a_delete_says_who_deleted_which_pod_when(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    pod = put_on(client, a_pod())
    clock.advance(5)

    send(client, "delete", {"metadata": {"namespace": "default", "name": "web-0"}})

    assert audit()[1:] == [expected(clock, "delete", pod, revision=2)]


def test_what_changes_nothing_leaves_no_row(client: FlaskClient, audit: Audit) -> None:
    pod = put_on(client, a_pod())
    before = audit()

    for verb in ("create", "update"):
        assert send(client, verb, pod) == 200

    assert audit() == before


VERBS = ["create", "update", "delete"]


def test_an_invalid_body_is_recorded_as_refused(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    for verb in VERBS:
        assert send(client, verb, b"no JSON") == 400
        assert send(client, verb, {"metadata": {"name": "web-0"}}) == 400

    found = audit()
    assert all("JSON" in row["change"]["refused"] for row in found[::2])
    assert all(row["change"]["refused"] == "metadata.namespace: required" for row in found[1::2])
    verbs = [verb for verb in VERBS for _ in range(2)]
    assert found == [expected(clock, verb, None, 400, change=ANY) for verb in verbs]


def test_an_invalid_pod_is_recorded_with_its_name(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    pod = a_pod(containers=[{"name": ""}])

    for verb in ("create", "update"):
        assert send(client, verb, pod) == 400

    refused = {"refused": "spec.containers[0].name: required"}
    assert audit() == [expected(clock, verb, pod, 400, change=refused) for verb in ("create", "update")]


def test_a_write_of_an_unknown_pod_is_recorded(client: FlaskClient, audit: Audit, clock: Clock) -> None:
    pod = a_pod("nobody")

    for verb in ("update", "delete"):
        assert send(client, verb, pod) == 404

    assert audit() == [expected(clock, verb, pod, 404, change={"refused": ANY}) for verb in ("update", "delete")]
    assert all("nobody" in row["change"]["refused"] for row in audit())


def test_a_too_large_body_is_recorded(make_app: MakeApp, audit: Audit, clock: Clock) -> None:
    client = make_app(max_content_length=1024).test_client()

    for verb in VERBS:
        assert send(client, verb, a_pod(metadata={"labels": {"filling": "x" * 1024}})) == 413

    assert audit() == [expected(clock, verb, None, 413, change={"refused": ANY}) for verb in VERBS]


@on_sqlite_alone
def test_reading_leaves_no_row(client: FlaskClient, audit: Audit) -> None:
    for path in ("/getPods", "/getPod", "/getPod?namespace=a&name=b", "/getContainerLogs", "/capacity"):
        client.get(path)
    for path in ("/createPod", "/nothing"):
        assert client.get(path).status_code >= 400

    assert audit() == []


@on_sqlite_alone
@pytest.mark.parametrize("given", [None, "strange id"])
def test_audit_row_and_response_share_the_request_id(client: FlaskClient, audit: Audit, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}

    answer = client.post("/createPod", json=a_pod(), headers=headers)

    assert [row["request_id"] for row in audit()] == [answer.headers["X-Request-ID"]]


@on_sqlite_alone
def test_a_long_user_agent_is_cut(client: FlaskClient, audit: Audit) -> None:
    client.post("/createPod", json=a_pod(), headers={"User-Agent": "x" * 5000})

    assert 0 < len(audit()[0]["user_agent"]) < 5000


def test_another_uid_alone_is_a_replacement(client: FlaskClient, audit: Audit) -> None:
    first, second = put_on(client, a_pod()), a_pod()

    for pod in (second, second, first):
        send(client, "create", pod)

    one, two = (pod["metadata"]["uid"] for pod in (first, second))
    assert [row["change"] for row in audit()] == [None, {"replaced": one}, {"revived": one, "replaced": two}]
