"""Exec, attach and port-forward: refusals before the upgrade, and what each does after it."""

import json
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import make_url

from tests.app.web.conftest import ORIGIN, Share, on_sqlite_alone
from tests.app.web.streams.conftest import RUNTIME, create, open_exec, query
from tests.conftest import MakeApp
from tests.pods import a_pod
from tests.postgres import free_port
from tests.server import Server
from tests.streams import CLOSE, CONTAINER, HANDSHAKE, POD, STATUS, STDOUT, Stream, exit_code, refusal
from tests.waiting import eventually

STREAMS = [("stdin", "true"), ("stdout", "true")]


@pytest.fixture(scope="module")
def provider_(share: Share) -> Iterator[Server]:
    with share(RUNTIME=RUNTIME, WORKERS="1") as server:
        create(server)
        yield server


@pytest.mark.parametrize(
    ("path", "parameters", "code", "field"),
    [
        ("/exec", [*STREAMS, ("command", "true")], 400, "namespace"),
        ("/exec", [*POD, *STREAMS, ("command", "true")], 400, "containerName"),
        ("/exec", [*CONTAINER, ("command", "true")], 400, "stdin"),
        ("/exec", [*CONTAINER, *STREAMS], 400, "command"),
        ("/exec", [*CONTAINER, ("stdout", "maybe"), ("command", "true")], 400, "stdout"),
        ("/exec", [*CONTAINER, ("stderr", "true"), ("tty", "true"), ("command", "true")], 400, "stdin"),
        ("/exec", query("/nowhere"), 400, "command"),
        ("/exec", query("echo", "a\0b"), 400, "command"),
        ("/exec", [("namespace", "other"), *query("true")[1:]], 404, None),
        ("/attach", CONTAINER, 400, "stdin"),
        ("/attach", [*CONTAINER, ("stderr", "1")], 400, "stderr"),
        ("/attach", [*POD, ("containerName", "db"), *STREAMS], 404, None),
        ("/portForward", POD, 400, "port"),
        ("/portForward", [*POD, ("port", "65536")], 400, "port"),
        ("/portForward", [*POD, ("port", "http")], 400, "port"),
        ("/portForward", [POD[0], ("podName", "db-0"), ("port", "80")], 404, None),
    ],
)
def test_a_request_is_refused_before_the_upgrade(
    provider_: Server, path: str, parameters: Sequence[tuple[str, object]], code: int, field: str | None
) -> None:
    refused = refusal(provider_.port, path, parameters)
    assert (refused.code, refused.error.get("field")) == (code, field), refused


def test_a_container_that_does_not_run_is_refused(provider_: Server) -> None:
    waiting = a_pod("waiting", metadata={"annotations": {"synthetic.virtual-kubelet.io/start-delay": "1h"}})
    with closing(provider_.client()) as client:
        assert client.request("POST", "/createPod", waiting).code == 200
    refused = refusal(provider_.port, "/exec", [POD[0], ("podName", "waiting"), *query("true")[2:]])
    assert (refused.code, refused.error["message"]) == (404, 'container "web" in pod "waiting" is not running')


def test_another_subprotocol_is_refused(provider_: Server) -> None:
    refused = refusal(provider_.port, "/exec", query("true"), subprotocol="v4.channel.k8s.io")
    assert (refused.code, refused.error["message"]) == (
        400,
        "invalid subprotocol; expected one of v5.channel.k8s.io",
    )


def test_a_page_of_another_origin_is_refused(provider_: Server) -> None:
    assert refusal(provider_.port, "/exec", query("true"), headers={"Origin": ORIGIN}).code == 403


def test_a_request_without_upgrade_is_told_so(provider_: Server) -> None:
    with closing(provider_.client()) as client:
        answer = client.request("GET", "/exec", query=dict(query("true")))
        assert (answer.status_line, answer.headers["Upgrade"]) == ("426 Upgrade Required", "websocket")
        assert client.get("/getPods").code == 200  # on the same connection


def test_an_argument_keeps_its_spaces(provider_: Server) -> None:
    with open_exec(provider_, "echo", "one two") as stream:
        assert stream.finish() == (b"one two\n", b"", 0)


def test_an_attached_container_echoes(provider_: Server) -> None:
    with Stream(provider_.port, "/attach", [*CONTAINER, *STREAMS]) as stream:
        stream.send(b"typed")
        assert stream.read_until(b"typed") == b"typed"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def forward(server: Server, port: int) -> Stream:
    return Stream(server.port, "/portForward", [*POD, ("port", port)])


def test_a_forwarded_port_carries_both_ways(provider_: Server, listener: socket.socket) -> None:
    with forward(provider_, listener.getsockname()[1]) as stream, listener.accept()[0] as target:
        stream.send(b"question")
        assert target.recv(100) == b"question"
        stream.end_input()
        assert target.recv(100) == b""
        target.sendall(b"answer")
        target.shutdown(socket.SHUT_WR)
        data = stream.read_all()
        assert (bytes(data[STDOUT]), bytes(data[CLOSE])) == (b"answer", b"\x01")
        assert exit_code(data[STATUS]) == 0


def test_a_target_that_ends_first_still_reads(provider_: Server, listener: socket.socket) -> None:
    with forward(provider_, listener.getsockname()[1]) as stream, listener.accept()[0] as target:
        target.shutdown(socket.SHUT_WR)
        assert stream.receive() == (CLOSE, b"\x01")
        stream.send(b"late")
        assert target.recv(100) == b"late"
        stream.end_input()
        assert exit_code(stream.read_all()[STATUS]) == 0


def test_a_client_that_goes_closes_the_target(provider_: Server, listener: socket.socket) -> None:
    stream = forward(provider_, listener.getsockname()[1])
    with listener.accept()[0] as target:
        stream.abort()
        assert target.recv(100) == b""


def test_a_closed_port_is_refused(provider_: Server) -> None:
    port = free_port()
    refused = refusal(provider_.port, "/portForward", [*POD, ("port", port)])
    assert (refused.code, refused.error["message"]) == (503, f"port {port}: Connection refused")


def test_many_connections_are_forwarded_at_once(provider_: Server, listener: socket.socket) -> None:
    def echo() -> None:
        for _ in range(10):
            with listener.accept()[0] as target:
                target.sendall(target.recv(100))

    thread = Thread(target=echo)
    thread.start()
    streams = [forward(provider_, listener.getsockname()[1]) for _ in range(10)]
    for number, stream in enumerate(streams):
        stream.send(b"%d" % number)
    for number, stream in enumerate(streams):
        assert stream.read_until(b"%d" % number) == b"%d" % number
        stream.close()
    thread.join()


@on_sqlite_alone
def test_a_development_server_refuses(client: FlaskClient) -> None:
    client.post("/createPod", json=a_pod())
    answer = client.get("/exec", query_string=query("true"), headers=HANDSHAKE)
    assert (answer.status_code, answer.get_json()["error"]["message"]) == (
        501,
        "this server cannot upgrade a connection; start the provider by `vkweb provider`",
    )


@on_sqlite_alone
def test_streams_can_be_turned_off(make_app: MakeApp) -> None:
    client = make_app(streams=False).test_client()
    answer = client.get("/exec", query_string=query("true"), headers=HANDSHAKE)
    assert (answer.status_code, answer.get_json()["error"]["message"]) == (
        501,
        "streams are turned off by STREAMS",
    )
    assert "streams" not in client.get("/extensions").get_json()


def test_commands_are_not_logged(provider_: Server) -> None:
    with open_exec(provider_, "echo", "secret-of-the-command") as stream:
        stream.finish()
    assert "secret-of-the-command" not in provider_.log.read_text()


def events(server: Server) -> list[dict[str, Any]]:
    """Return the audit events of streams."""
    path = make_url(server.settings["DATABASE_URL"]).database or ""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT * FROM audit_events WHERE verb IN ('exec', 'attach', 'port-forward') ORDER BY id"
        )
        return [{**row, "change": json.loads(row["change"])} for row in rows]


def last_event(server: Server, **wanted: object) -> dict[str, Any]:
    """Return the last event whose columns have these values; it is inserted after the end of its stream.

    That of another stream may come later, which ended before it.
    """

    def found() -> dict[str, Any] | None:
        return next((event for event in reversed(events(server)) if wanted.items() <= event.items()), None)

    return eventually(found)


def test_an_exec_is_audited(provider_: Server) -> None:
    headers = {"X-Request-ID": "exec-1", "User-Agent": "kubectl"}
    command = query("sh", "-c", "cat; echo secret; exit 3")
    with Stream(provider_.port, "/exec", command, headers=headers) as stream:
        stream.send(b"typed")
        stream.end_input()
        stream.finish()
    event = last_event(provider_, request_id="exec-1")
    assert (event["verb"], event["namespace"], event["name"], event["code"]) == ("exec", "default", "web-0", 101)
    assert event["uid"]
    seconds = event["change"]["stream"].pop("seconds")
    assert 0 <= seconds < 60
    assert event["change"] == {
        "stream": {
            "container": "web",
            "command": "sh",
            "tty": False,
            "ended": "exited",
            "exitCode": 3,
            "bytesReceived": 5,
            "bytesSent": 12,
        }
    }


def test_a_client_that_goes_is_audited(provider_: Server) -> None:
    stream = Stream(provider_.port, "/attach", [*CONTAINER, *STREAMS], headers={"X-Request-ID": "attach-1"})
    stream.abort()
    change = last_event(provider_, request_id="attach-1")["change"]["stream"]
    assert (change["ended"], change["container"], "command" in change) == ("the client disconnected", "web", False)


def test_a_refused_stream_is_audited(provider_: Server) -> None:
    port = [*POD[:1], ("podName", "none"), ("port", "80")]
    refusal(provider_.port, "/portForward", port, headers={"X-Request-ID": "port-1"})
    event = last_event(provider_, request_id="port-1")
    assert (event["verb"], event["name"], event["code"]) == ("port-forward", "none", 404)
    assert event["change"] == {"refused": 'pod "none" is not in namespace "default"'}
