"""Secrets in pods: no error, log line, audit event or page contains one."""

import copy
import json
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app.db.engine import Database
from app.db.models import AuditEvent, Pod
from conformance.wire import Connection
from tests.app.web.conftest import change, on_sqlite_alone, put_on, rows
from tests.conftest import MakeApp, Serve
from tests.pods import SECRET, a_pod, a_secret_pod
from tests.server import Answer, Client, Server
from tests.waiting import eventually

OTHER = f"{SECRET}-rotated"


def misplaced(pod: dict[str, Any], **container: Any) -> dict[str, Any]:
    """Return a pod with an invalid container, whose invalid field holds the secret."""
    pod = copy.deepcopy(pod)
    pod["spec"]["containers"][0].update(container)
    return pod


REFUSED: dict[str, Any] = {
    "a text for a list of arguments": misplaced(a_secret_pod(), args=SECRET),
    "an object for an argument": misplaced(a_secret_pod(), args=[{"value": SECRET}]),
    "a list for the image": misplaced(a_secret_pod(), image=[SECRET]),
    "no quantity": misplaced(a_secret_pod(), resources={"requests": {"cpu": SECRET}}),
    "no port": misplaced(a_secret_pod(), ports=[{"containerPort": SECRET}]),
    "another fault elsewhere": {**a_secret_pod(), "spec": {**a_secret_pod()["spec"], "hostNetwork": SECRET}},
    "a generation": {**a_secret_pod(), "metadata": {**a_secret_pod()["metadata"], "generation": SECRET}},
    "another kind": {**a_secret_pod(), "kind": SECRET},
    "no name": {**a_secret_pod(), "metadata": {"namespace": "default", "annotations": {"a": SECRET}}},
    "cut off": json.dumps(a_secret_pod()).encode()[:-300],
    "a text": json.dumps(f"password {SECRET}").encode(),
    "no JSON": f"password={SECRET}".encode(),
    "no UTF-8": json.dumps(a_secret_pod()).encode() + b"\xff",
}


def refuse_pods(database: Database, kind: str) -> None:
    """Create a trigger that refuses changes of pods by an error that quotes the row, as PostgreSQL does."""
    with database.write() as connection:
        if kind == "sqlite":
            connection.execute(
                text("CREATE TRIGGER no BEFORE UPDATE ON pods BEGIN SELECT RAISE(ABORT, 'refused'); END")
            )
        else:
            connection.execute(
                text("ALTER TABLE pods ADD CONSTRAINT no CHECK (pod NOT LIKE '%rotated%') NOT VALID")
            )


def send_everything(client: Client, database: Database, kind: str) -> list[Answer]:
    """Send writes with secrets for every possible outcome, and return the responses."""
    pod = a_secret_pod()
    moved = copy.deepcopy(pod)
    moved["spec"]["containers"][0]["env"].append({"name": "MORE", "value": OTHER})
    replacement = a_secret_pod(OTHER)
    replacement["metadata"]["uid"] = "another-uid"
    answers = [
        client.request("POST", "/createPod", pod),
        client.request("PUT", "/updatePod", a_secret_pod(OTHER)),
        client.request("PUT", "/updatePod", moved),
        client.request("POST", "/createPod", replacement),
        client.request("DELETE", "/deletePod", replacement),
        client.request("DELETE", "/deletePod", replacement),
        client.request("PUT", "/updatePod", pod),
        *(client.request("POST", "/createPod", body) for body in REFUSED.values()),
        client.request("POST", "/createPod", {**pod, "filling": SECRET * 1000}),
        client.request("GET", "/createPod", pod),
        client.request("POST", "/nothing", pod),
        client.request("POST", "/createPod", pod),
    ]
    refuse_pods(database, kind)
    answers.append(client.request("PUT", "/updatePod", a_secret_pod(OTHER)))
    with database.write() as connection:
        connection.execute(text("ALTER TABLE pod_statuses RENAME TO gone"))
    answers.append(client.request("PUT", "/updatePod", a_secret_pod(OTHER)))
    return answers


@pytest.mark.parametrize(
    ("database_kind", "log_format"),
    [("sqlite", "json"), ("sqlite", "console"), ("postgresql", "json")],
    indirect=["database_kind"],
)
def test_logs_audit_and_errors_have_no_secret(
    serve: Serve, database: Database, database_kind: str, log_format: str
) -> None:
    settings = {"LOG_FORMAT": log_format, "LOG_LEVEL": "DEBUG", "MAX_CONTENT_LENGTH": "16384"}
    with serve(**settings) as server, closing(server.client()) as client:
        answers = send_everything(client, database, database_kind)
        log = whole_log(server, of=answers[-1])

    codes = [answer.code for answer in answers]
    assert codes == [200] * 5 + [404] * 2 + [400] * len(REFUSED) + [413, 405, 404, 200, 500, 500]
    assert SECRET in "".join(row["pod"] for row in rows(database, Pod))
    audit = rows(database, AuditEvent)
    assert len(audit) == len([code for code in codes if code != 405]) - 1
    assert SECRET not in repr(audit)
    assert "PASSWORD" in repr(audit)
    assert SECRET not in "".join(f"{answer.headers} {answer.body.decode()}" for answer in answers)
    assert [line for line in log.splitlines() if SECRET in line] == []


def whole_log(server: Server, of: Answer) -> str:
    """Wait until the log contains the line of a response, and return the log."""

    def log() -> str | None:
        found = server.log.read_text()
        return found if found.count(of.headers["X-Request-ID"]) >= 2 else None

    return eventually(log)


def test_a_503_has_no_secret(make_app: MakeApp, database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'another'"))
    client = make_app().test_client()

    for method, path in (("POST", "/createPod"), ("PUT", "/updatePod"), ("DELETE", "/deletePod")):
        answer = client.open(path, method=method, json=a_secret_pod())

        assert answer.status_code == 503
        assert SECRET not in f"{answer.headers} {answer.text} {capfd.readouterr()}"


@on_sqlite_alone
def test_annotations_and_arguments_are_not_quoted(client: FlaskClient, database: Database) -> None:
    pod = put_on(client, a_pod())
    for value in ("before", SECRET):
        pod["metadata"]["annotations"] = {"image": value, "of.an.image": value, "metadata.labels": value}
        pod["spec"]["containers"][0] |= {"args": [value], "command": [value], "workingDir": value}
        change(client, pod)

    assert SECRET not in repr(rows(database, AuditEvent))


@pytest.mark.parametrize(
    "body",
    [
        f"Content-Length: 2\r\n\r\n{{}}password={SECRET}\r\n\r\n",
        f"Content-Length: 2\r\n\r\n{{}}POST /createPod HTTP/1.1\r\npassword={SECRET}\r\n\r\n",
        f"Transfer-Encoding: chunked\r\n\r\npassword={SECRET}\r\n\r\n",
        f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}{SECRET}\r\n\r\n",
        f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{SECRET}\r\n\r\n",
    ],
    ids=["as a request", "as a header", "as the size of a chunk", "as the end of a chunk", "as a trailer"],
)
def test_a_malformed_request_logs_no_secret(provider: Server, wire: Connection, body: str) -> None:
    wire.send(f"POST /createPod HTTP/1.1\r\nHost: a\r\n{body}".encode())

    answers = wire.rest().decode()

    assert answers.startswith("HTTP/1.1 400 ")
    assert SECRET not in provider.log.read_text()


@on_sqlite_alone
def test_a_log_of_a_container_has_no_secret(client: FlaskClient) -> None:
    put_on(client, a_secret_pod())

    for container in ("web", "setup"):
        query = {"namespace": "default", "podName": "vault-0", "containerName": container}
        log = client.get("/getContainerLogs", query_string=query)
        assert log.status_code == 200
        assert SECRET not in log.text


@on_sqlite_alone
def test_a_status_has_no_secret(client: FlaskClient) -> None:
    put_on(client, a_secret_pod())

    status = client.get("/getPodStatus", query_string={"namespace": "default", "name": "vault-0"})

    assert status.status_code == 200
    assert SECRET not in status.text
