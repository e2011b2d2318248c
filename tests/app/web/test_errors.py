"""Refused requests: status codes and messages."""

import json
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app.db.engine import Database
from conformance.checks.http import ENDPOINTS
from tests.app.web.conftest import TOKEN, named, put_on, tables
from tests.conftest import MakeApp
from tests.pods import a_container, a_pod
from tests.server import Answer, Client, Server

WRITES = ENDPOINTS[:3]


def write_id(write: tuple[str, str]) -> str:
    return write[1].removeprefix("/").removesuffix("Pod")


def without(pod: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a pod without a field."""
    part = pod
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return pod


NO_JSON = {
    "nothing": b"",
    "no JSON": b"pod",
    "cut off": b'{"metadata": {"namespace": "default", "name"',
    "more after the end": b'{"metadata": {"namespace": "default", "name": "web-0"}} {}',
    "no UTF-8": b'{"metadata": {"namespace": "default", "name": "\xff"}}',
    "half a surrogate pair": b'{"metadata": {"namespace": "default", "name": "\\ud800"}}',
    "not a number": b'{"metadata": NaN}',
}

NO_POD: dict[str, tuple[object, str | None]] = {
    "null": (None, None),
    "a list": ([], None),
    "a text": ("pod", None),
    "a number": (1, None),
    "an empty object": ({}, "metadata"),
    "null metadata": ({"metadata": None}, "metadata"),
    "metadata is a list": ({"metadata": []}, "metadata"),
    "another kind": (a_pod() | {"kind": "Service"}, "kind"),
    "no namespace": (without(a_pod(), "metadata", "namespace"), "metadata.namespace"),
    "an empty namespace": (a_pod(namespace=""), "metadata.namespace"),
    "a null namespace": (a_pod(metadata={"namespace": None}), "metadata.namespace"),
    "no name": (without(a_pod(), "metadata", "name"), "metadata.name"),
    "an empty name": (a_pod(""), "metadata.name"),
    "a name that is a number": (a_pod(metadata={"name": 1}), "metadata.name"),
    "a name of 254 characters": (a_pod("a" * 254), "metadata.name"),
    "a name with NUL": (a_pod("a\0b"), "metadata.name"),
    "a name with a line break": (a_pod("a\nb"), "metadata.name"),
    "a uid that is a number": (a_pod(metadata={"uid": 1}), "metadata.uid"),
    "a uid with NUL": (a_pod(uid="a\0b"), "metadata.uid"),
}

NO_SPEC = {
    "no spec": (without(a_pod(), "spec"), "spec"),
    "a null spec": (a_pod() | {"spec": None}, "spec"),
    "no containers": (without(a_pod(), "spec", "containers"), "spec.containers"),
    "null containers": (a_pod() | {"spec": {"containers": None}}, "spec.containers"),
    "containers are an object": (a_pod() | {"spec": {"containers": {}}}, "spec.containers"),
    "an empty list of containers": (a_pod() | {"spec": {"containers": []}}, "spec.containers"),
    "a container that is a text": (a_pod() | {"spec": {"containers": ["web"]}}, "spec.containers[0]"),
    "a container without a name": (
        a_pod(containers=[a_container(), {"image": "nginx"}]),
        "spec.containers[1].name",
    ),
    "a container with an empty name": (a_pod(containers=[a_container("")]), "spec.containers[0].name"),
    "two containers of a name": (a_pod(containers=[a_container()] * 2), "spec.containers[1].name"),
    "an init container of the name of a container": (
        a_pod(initContainers=[a_container("web")]),
        "spec.initContainers[0].name",
    ),
    "an image that is a number": (a_pod(containers=[a_container(image=1)]), "spec.containers[0].image"),
    "arguments that are a text": (a_pod(containers=[a_container(args="-v")]), "spec.containers[0].args"),
    "a port that is a text": (
        a_pod(containers=[a_container(ports=[{"containerPort": "http"}])]),
        "spec.containers[0].ports[0].containerPort",
    ),
    "a request that is no quantity": (
        a_pod(containers=[a_container(resources={"requests": {"cpu": "much"}})]),
        "spec.containers[0].resources.requests.cpu",
    ),
    "a generation that is a text": (a_pod(metadata={"generation": "two"}), "metadata.generation"),
}


def assert_error(answer: Answer, code: int) -> dict[str, Any]:
    """Check the shape of an error response, and return the error."""
    assert answer.code == code, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["error"]
    problem: dict[str, Any] = answer.json()["error"]
    assert problem["code"] == code
    assert problem["message"]
    assert problem["requestId"] == answer.headers["X-Request-ID"]
    return problem


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_a_body_that_is_no_json_is_400(http: Client, method: str, path: str, body: bytes) -> None:
    problem = assert_error(http.request(method, path, body), 400)

    assert "JSON" in problem["message"]


@pytest.mark.parametrize("write", WRITES, ids=write_id)
@pytest.mark.parametrize(("body", "field"), NO_POD.values(), ids=NO_POD)
def test_an_invalid_body_is_400_with_its_field(
    http: Client, write: tuple[str, str], body: object, field: str | None
) -> None:
    method, path = write
    problem = assert_error(http.request(method, path, json.dumps(body).encode()), 400)

    assert problem.get("field") == field
    assert field is None or problem["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("write", WRITES[:2], ids=write_id)
@pytest.mark.parametrize(("body", "field"), NO_SPEC.values(), ids=NO_SPEC)
def test_an_invalid_pod_is_400_with_its_field(
    http: Client, write: tuple[str, str], body: dict[str, Any], field: str
) -> None:
    method, path = write
    if method == "PUT":
        http.request("POST", "/createPod", a_pod(uid=body["metadata"]["uid"], hostNetwork=True))

    problem = assert_error(http.request(method, path, body), 400)

    assert problem["field"] == field
    assert problem["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("depth", [200, 300, 2000, 100_000])
def test_a_deeply_nested_body_is_400(http: Client, method: str, path: str, depth: int) -> None:
    body = json.dumps(a_pod("deep", aFieldOfTomorrow="HERE"))
    deep = body.replace('"HERE"', '{"a":' * depth + "1" + "}" * depth).encode()

    assert http.request(method, path, deep).code in (200, 400, 404)


@pytest.mark.parametrize("path", ["/getPod", "/getPodStatus"])
@pytest.mark.parametrize("missing", ["namespace", "name"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_query_without_pod_is_400(http: Client, path: str, missing: str, how: str) -> None:
    query: dict[str, object] = {**named(a_pod())}
    if how == "missing":
        del query[missing]
    else:
        query[missing] = ""

    problem = assert_error(http.get(path, **query), 400)

    assert problem["field"] == missing


@pytest.mark.parametrize("path", ["/getPod", "/getPodStatus"])
def test_a_read_of_an_unknown_pod_is_404(http: Client, path: str) -> None:
    problem = assert_error(http.get(path, namespace="default", name="nobody"), 404)

    assert "nobody" in problem["message"]
    assert "default" in problem["message"]


@pytest.mark.parametrize(("method", "path"), WRITES[1:])
def test_a_write_of_an_unknown_pod_is_404(http: Client, method: str, path: str) -> None:
    problem = assert_error(http.request(method, path, a_pod("nobody")), 404)

    assert "nobody" in problem["message"]


def test_404_and_405_have_the_error_shape(http: Client) -> None:
    assert_error(http.get("/nothing"), 404)
    assert_error(http.get("/createPod"), 405)


def test_a_missing_token_has_the_same_shape(guarded: Server) -> None:
    with closing(guarded.client()) as client:
        assert_error(client.get("/getPods"), 401)
        assert_error(client.request("GET", "/nothing", headers={"Authorization": f"Bearer {TOKEN}"}), 404)


def test_a_body_over_the_limit_is_413(make_app: MakeApp) -> None:
    client = make_app(max_content_length=2048).test_client()
    pod = a_pod(metadata={"annotations": {"filling": ""}})
    room = 2048 - len(json.dumps(pod))
    pod["metadata"]["annotations"]["filling"] = "x" * room

    assert client.post("/createPod", data=json.dumps(pod)).status_code == 200

    answer = client.post("/createPod", data=json.dumps(pod) + " ")
    assert answer.status_code == 413
    assert answer.get_json()["error"]["code"] == 413


@pytest.mark.parametrize("path", ["/getPod", "/getPodStatus", "/getContainerLogs"])
def test_a_strange_name_is_just_an_unknown_pod(client: FlaskClient, path: str) -> None:
    names = ["\0", "\ufffd", "\ud7ff", "ü \U0001f40b", "' OR 1=1--", "%", "a" * 3000, "\n"]
    queries = [{"namespace": name, "name": name, "podName": name, "containerName": name} for name in names]

    assert [client.get(path, query_string=query).status_code for query in queries] == [404] * len(names)


def test_an_unusable_database_is_503(make_app: MakeApp, database: Database) -> None:
    pod = put_on(make_app().test_client(), a_pod())
    before = tables(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'another'"))
    client = make_app().test_client()

    for method, path in [*WRITES, ("GET", "/getPod"), ("GET", "/getPods"), ("GET", "/readyz")]:
        body = {**pod, "extra": 1} if method != "GET" else None
        answer = client.open(path, method=method, json=body, query_string=named(pod))

        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.get_json()["error"]["code"] == 503
    assert tables(database) == before


@pytest.mark.parametrize(
    "write",
    [
        ("POST", "/createPod", "pod_statuses"),
        ("PUT", "/updatePod", "audit_events"),
        ("DELETE", "/deletePod", "pods"),
    ],
    ids=["create", "update", "delete"],
)
def test_a_failed_write_is_rolled_back(
    make_app: MakeApp, database: Database, database_kind: str, write: tuple[str, str, str]
) -> None:
    method, path, table = write
    client = make_app().test_client()
    pod = put_on(client, a_pod("web-0"))
    sent = a_pod("web-1") if method == "POST" else {**pod, "extra": 1}
    refuse_rows(database, database_kind, table)
    before = tables(database)

    answer = client.open(path, method=method, json=sent)

    assert answer.status_code == 500
    assert answer.get_json()["error"]["requestId"] == answer.headers.get("X-Request-ID")
    after = tables(database)
    for name in ("fleets", "pods", "pod_statuses"):
        assert after[name] == before[name]


def refuse_rows(database: Database, kind: str, table: str) -> None:
    """Create a trigger that refuses every change of a table, so that the transaction is rolled back."""
    with database.write() as connection:
        if kind == "sqlite":
            for event in ("INSERT", "UPDATE"):
                connection.execute(
                    text(
                        f"CREATE TRIGGER no_{event} BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"
                    )
                )
        else:
            connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT no CHECK (false) NOT VALID"))
