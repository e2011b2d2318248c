"""The log line of each request with its ID, and the verbs of the audit log."""

import re
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from app.web.middleware import audit_verb
from conformance.wire import Connection
from tests.app.web.conftest import log_lines, named
from tests.pods import a_pod
from tests.server import Client, Server
from tests.waiting import eventually

A_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """Wait for the log line of a request, which is written after the response."""

    def found() -> list[dict[str, Any]]:
        return [line for line in log_lines(server) if line.get("request_id") == request_id]

    [line] = eventually(found)
    return line


@pytest.mark.parametrize("given", ["1", "a" * 64, "4bf92f3577b34da6-00f067aa0ba902b7", "req_01.B-c"])
def test_a_sane_request_id_comes_back(http: Client, given: str) -> None:
    for path, code in (("/getPods", 200), ("/getPod", 400), ("/nothing", 404)):
        answer = http.request("GET", path, headers={"X-Request-ID": given})

        assert (answer.code, answer.headers["X-Request-ID"]) == (code, given)


@pytest.mark.parametrize(
    "given", [None, "", "a" * 65, "a b", "a;b", "a/b", '"a"', "ü", "{}", "a, b"], ids=lambda given: f"{given!s:.9}"
)
def test_an_invalid_request_id_is_replaced(http: Client, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}

    first, second = (http.request("GET", "/getPods", headers=headers).headers["X-Request-ID"] for _ in range(2))

    assert A_REQUEST_ID.fullmatch(first)
    assert first != given
    assert first != second


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        ("GET /getPods", 200),
        ("HEAD /getPods", 200),
        ("GET /capacity", 200),
        ("GET /getPod", 400),
        ("GET /getPod?namespace=default&name=nobody", 404),
        ("GET /nothing", 404),
        ("GET /createPod", 405),
        ("OPTIONS /createPod", 200),
        ("POST /createPod", 400),
        ("GET /healthz", 200),
    ],
)
def test_every_request_is_logged_once(provider: Server, http: Client, request_line: str, code: int) -> None:
    method, path = request_line.split()
    request_id = uuid4().hex
    before = datetime.now(UTC)

    answer = http.request(method, path, headers={"X-Request-ID": request_id, "User-Agent": "tests/1"})

    line = line_of(provider, request_id)
    path, _, query = path.partition("?")
    assert answer.code == code
    assert (line["event"], line["level"]) == ("request", "info")
    assert (line["method"], line["path"], line["query"], line["code"]) == (
        method,
        path,
        query,
        code,
    )
    assert (line["address"], line["user_agent"]) == ("127.0.0.1", "tests/1")
    assert line["milliseconds"] >= 0
    assert before <= datetime.fromisoformat(line["timestamp"]) <= datetime.now(UTC)


def test_commands_are_redacted_however_they_are_encoded(provider: Server, http: Client) -> None:
    request_id = uuid4().hex
    query = "podName=a&command=secret&%63ommand=secret&comm%61n%64=secret%26&commander=b&command"
    http.request("GET", f"/exec?{query}", headers={"X-Request-ID": request_id})

    expected = "podName=a&command=…&commander=b"
    assert line_of(provider, request_id)["query"] == expected


def test_requests_of_one_connection_have_a_line_each(provider: Server, http: Client) -> None:
    ids = [uuid4().hex for _ in range(20)]
    pod = a_pod("logged")
    for request_id in ids:
        http.request("PUT", "/updatePod", pod, headers={"X-Request-ID": request_id})

    for request_id in ids:
        line_of(provider, request_id)
    logged = [line["request_id"] for line in log_lines(provider) if line.get("request_id") in ids]
    assert sorted(logged) == sorted(ids)


def test_chunked_and_too_large_requests_are_logged(provider: Server, wire: Connection) -> None:
    for headers, body in (
        ({"Transfer_Encoding": "chunked"}, b"2\r\n{}\r\n0\r\n\r\n"),
        ({}, b" " * (2 * 1024 * 1024 + 1)),
    ):
        request_id = uuid4().hex
        answer = wire.request("POST", "/createPod", body, X_Request_ID=request_id, **headers)

        assert line_of(provider, request_id)["code"] == answer.code


def test_no_line_breaks_get_into_the_log(provider: Server, wire: Connection) -> None:
    request_id = uuid4().hex
    wire.request("GET", "/a%0A%7B%22event%22:1%7D?b=%0Ac", X_Request_ID=request_id, User_Agent='"\\ü')

    assert line_of(provider, request_id)["code"] == 404


def test_every_log_line_is_json(provider: Server) -> None:
    with closing(provider.client()) as client:
        client.get("/getPod", **named(a_pod("nobody")))

    lines = log_lines(provider)

    assert len(lines) > 3
    assert all(line["timestamp"].endswith("Z") and line["level"] and line["event"] for line in lines)


def test_every_write_and_stream_has_a_verb(app: Flask) -> None:
    writes = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.websocket or (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    with app.app_context():
        without_verb = {endpoint for endpoint in writes if audit_verb(endpoint) is None}

    assert len(writes) > len(without_verb)
    assert without_verb == {
        "ui.check_token",
        "ui.sign_out",
    }  # these change no pod
