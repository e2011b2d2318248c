"""Gunicorn under clients that are slow or never finish: real workers, real sockets, small limits."""

import json
import os
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection

import pytest

from tests.app.web.conftest import Share
from tests.conftest import Serve
from tests.pods import a_container, a_pod
from tests.postgres import free_port
from tests.server import Client, Server
from tests.waiting import booted, write_under_way

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

CLIENTS = 24
LIMIT = 1024 * 1024
"""MAX_CONTENT_LENGTH."""
CREATE = b"POST /createPod HTTP/1.1\r\nHost: provider\r\n"

HALF_REQUESTS = {
    "silent": b"",
    "half a request line": b"GET /getP",
    "half a head": b"GET /getPods HTTP/1.1\r\nHost: prov",
    "half a body": CREATE + b'Content-Length: 1000\r\n\r\n{"metadata": ',
    "half a chunk": CREATE + b'Transfer-Encoding: chunked\r\n\r\n400\r\n{"metadata": ',
}


@pytest.fixture(scope="module")
def small_health_port() -> int:
    return free_port()


SETTINGS = {"WORKERS": "1", "THREADS": "2", "REQUEST_TIMEOUT": "1s", "MAX_CONTENT_LENGTH": str(LIMIT)}
"""One worker of two threads, and a second for a request."""


@pytest.fixture(scope="module")
def small(share: Share, small_health_port: int) -> Iterator[Server]:
    """A small provider, with pods whose list is more than the buffers between two sockets hold."""
    with share(HEALTH_PORT=str(small_health_port), **SETTINGS) as server, closing(server.client()) as client:
        for number in range(20):
            pod = a_pod(f"large-{number:03}", containers=[a_container(args=["x" * 400_000])])
            assert client.request("POST", "/createPod", pod).code == 200
        yield server


def opened(port: int, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(sent)
    return connection


@contextmanager
def clients(port: int, sent: bytes, *, number: int = CLIENTS) -> Iterator[list[socket.socket]]:
    """Open connections that each send the same."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(opened(port, sent))) for _ in range(number)]


def until_closed(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            received += data
    return received


def code_of(port: int, method: str, path: str, body: object = None) -> int:
    with closing(Client(port)) as client:
        return client.request(method, path, body).code


@pytest.mark.parametrize("sent", HALF_REQUESTS.values(), ids=HALF_REQUESTS)
def test_half_requests_hold_up_nobody(small: Server, small_health_port: int, sent: bytes) -> None:
    with clients(small.port, sent) as half, clients(small_health_port, sent) as half_on_health:
        assert code_of(small.port, "POST", "/createPod", a_pod()) == 200
        assert code_of(small_health_port, "GET", "/readyz") == 200
        for connection in half + half_on_health:
            answer = until_closed(connection)
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n" if sent else b"")
    assert code_of(small.port, "GET", "/getPods") == 200


def test_a_byte_at_a_time_is_too_slow(small: Server) -> None:
    with closing(opened(small.port, b"GET / HTTP/1.1\r\nX: ")) as connection:
        connection.settimeout(0.05)
        answer = b""
        while not answer:
            with suppress(TimeoutError):
                answer = connection.recv(1024)
            with suppress(ConnectionError):
                connection.sendall(b"x")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_thousand_half_requests_are_harmless(small: Server) -> None:
    with clients(small.port, HALF_REQUESTS["half a head"], number=1000):
        assert code_of(small.port, "POST", "/createPod", a_pod()) == 200


@ON_SQLITE
def test_connections_over_the_limit_replace_the_oldest(serve: Serve) -> None:
    with (
        serve(WORKERS="1", GUNICORN_CMD_ARGS="--worker-connections 20") as server,
        clients(server.port, HALF_REQUESTS["half a head"], number=40) as half,
    ):
        assert code_of(server.port, "GET", "/getPods") == 200
        assert until_closed(half[0]) == b""


@ON_SQLITE
def test_a_replaced_connection_may_send_at_the_same_time(serve: Serve) -> None:
    with (
        serve(WORKERS="1", GUNICORN_CMD_ARGS="--worker-connections 20") as server,
        clients(server.port, HALF_REQUESTS["half a head"], number=19) as half,
        closing(server.client()) as client,
    ):
        assert client.get("/getPods").code == 200  # replaces the first
        (worker,) = booted(server, 1)
        os.kill(worker, signal.SIGSTOP)
        with closing(opened(server.port, b"")):  # replaces the second, whose bytes arrive in the same wait
            half[1].sendall(b"ider\r\n\r\n")
            os.kill(worker, signal.SIGCONT)
            assert until_closed(half[1]) == b""
            assert client.get("/getPods").code == 200


@ON_SQLITE
def test_large_half_bodies_hold_limited_memory(serve: Serve) -> None:
    mebibytes = 31
    head = CREATE + b"Content-Length: 33554432\r\n\r\n"
    with serve(WORKERS="1") as server, ExitStack() as stack:
        half = [stack.enter_context(closing(opened(server.port, head))) for _ in range(6)]
        for connection in half:
            with suppress(ConnectionError):
                for _ in range(mebibytes):
                    connection.sendall(b" " * 1024 * 1024)
        closed, _, _ = select.select(half, [], [], 30)
        assert closed
        assert code_of(server.port, "POST", "/createPod", a_pod()) == 200


def test_unread_responses_hold_up_nobody(small: Server) -> None:
    with clients(small.port, b"GET /getPods HTTP/1.1\r\nHost: provider\r\n\r\n", number=8) as unread:
        assert code_of(small.port, "POST", "/createPod", a_pod()) == 200
        for connection in unread:
            poll = select.poll()
            poll.register(connection, select.POLLRDHUP)
            assert poll.poll(30_000), "the server waits longer than REQUEST_TIMEOUT"


def test_a_slow_reader_gets_the_whole_response(small: Server) -> None:
    received = b""
    with closing(opened(small.port, b"GET /getPods HTTP/1.0\r\n\r\n")) as connection:
        while data := connection.recv(256 * 1024):
            received += data
            select.select([], [], [], 0.02)
    _, _, body = received.partition(b"\r\n\r\n")
    assert len(json.loads(body)) >= 20


def test_health_answers_while_all_threads_are_busy(small: Server, small_health_port: int) -> None:
    body = json.dumps(a_pod("waits")).encode()
    create = CREATE + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    database = f"sqlite:///{small.log.parent}/provider.db"
    with write_under_way(database), clients(small.port, create, number=4) as waiting:
        for port in (small.port, small_health_port):
            assert code_of(port, "GET", "/healthz") == 200
            assert code_of(port, "GET", "/readyz") == 200
        assert select.select(waiting, [], [], 0)[0] == []


def requests_of_size(size: int) -> dict[str, bytes]:
    body = json.dumps(a_pod()).encode().ljust(size)
    length = CREATE + b"Content-Length: %d\r\n\r\n" % size
    return {
        "with a length": length + body,
        "in chunks": CREATE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body),
    }


@pytest.mark.parametrize("kind", ["with a length", "in chunks"])
def test_a_client_that_sends_everything_reads_413(small: Server, kind: str) -> None:
    with closing(opened(small.port, requests_of_size(20 * LIMIT)[kind])) as connection:
        connection.shutdown(socket.SHUT_WR)
        head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close" in head
    assert json.loads(body)["error"]["code"] == 413


@pytest.mark.parametrize("kind", ["with a length", "in chunks"])
def test_a_body_up_to_the_limit_is_read(small: Server, kind: str) -> None:
    with closing(opened(small.port, requests_of_size(LIMIT)[kind])) as connection:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("end", ["length", "chunks"])
def test_a_body_that_ends_early_is_refused(small: Server, end: str) -> None:
    body = json.dumps(a_pod("cut-off")).encode()
    sent = {
        "length": CREATE + b"Content-Length: %d\r\n\r\n%b" % (len(body) + 1, body),
        "chunks": CREATE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body),
    }
    with closing(opened(small.port, sent[end])) as connection:
        connection.shutdown(socket.SHUT_WR)
        head, _, error = until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert "incomplete" in json.loads(error)["error"]["message"]
    assert code_of(small.port, "GET", "/getPod?namespace=default&name=cut-off") == 404


def test_100_continue_is_sent_once(small: Server) -> None:
    body = json.dumps(a_pod()).encode()
    head = CREATE + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with closing(opened(small.port, b"HEAD /healthz HTTP/1.1\r\nHost: provider\r\n\r\n")) as connection:
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(head)
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert until_closed(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests_are_answered_in_order(small: Server) -> None:
    paths = [b"/healthz", b"/nothing", b"/capacity", b"/getPod", b"/readyz"]
    sent = b"".join(b"GET %b HTTP/1.1\r\nHost: provider\r\n\r\n" % path for path in paths)
    with closing(opened(small.port, sent + b"GET / HTTP/1.0\r\n\r\n")) as connection:
        answers = until_closed(connection)
    assert re.findall(rb"HTTP/1\.[01] (\d+)", answers) == [b"200", b"404", b"200", b"400", b"200", b"200"]


def test_held_requests_are_not_cut(small: Server) -> None:
    """REQUEST_TIMEOUT is for the client: a response may take the provider longer."""
    with closing(small.client()) as client:
        answer = client.get("/podStatuses", since=0, wait=0)
        revision = answer.json()["revision"]
        assert client.get("/podStatuses", since=revision, wait=2).json()["revision"] == revision


def test_a_connection_may_alternate_between_reads_and_other_requests(small: Server) -> None:
    with closing(small.client()) as client:
        pod = {"namespace": "default", "name": "alternates"}
        for _ in range(3):
            assert client.request("POST", "/createPod", a_pod("alternates")).code == 200
            assert client.get("/getPodStatus", **pod).code == 200
            assert client.get("/podStatuses", since=0).code == 200
            assert client.get("/getPod", **pod).json()["metadata"]["name"] == "alternates"
            assert client.get("/healthz").code == 200
            assert client.get("/").code == 200


def test_pipelined_reads_and_writes_are_answered_in_order(small: Server) -> None:
    body = json.dumps(a_pod("pipelined")).encode()
    read = b"GET /getPodStatus?namespace=default&name=pipelined HTTP/1.1\r\nHost: provider\r\n\r\n"
    sent = read + CREATE + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) + read
    with closing(opened(small.port, sent + b"GET / HTTP/1.0\r\n\r\n")) as connection:
        answers = until_closed(connection)
    assert re.findall(rb"HTTP/1\.[01] (\d+)", answers) == [b"404", b"200", b"200", b"200"]


def test_reads_that_nobody_takes_hold_up_no_other_read(small: Server) -> None:
    large = b"GET /getPod?namespace=default&name=large-000 HTTP/1.1\r\nHost: provider\r\n\r\n"
    with clients(small.port, large * 20) as unread:
        assert code_of(small.port, "GET", "/getPod?namespace=default&name=large-001") == 200
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 20:
            received += unread[0].recv(1 << 20)


def test_reads_are_answered_while_a_write_waits(small: Server) -> None:
    assert code_of(small.port, "POST", "/createPod", a_pod("read")) == 200
    body = json.dumps(a_pod("written-later")).encode()
    create = CREATE + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    database = f"sqlite:///{small.log.parent}/provider.db"
    with write_under_way(database), clients(small.port, create, number=4) as waiting:
        for _ in range(10):
            assert code_of(small.port, "GET", "/getPodStatus?namespace=default&name=read") == 200
        assert select.select(waiting, [], [], 0)[0] == []


@ON_SQLITE
def test_a_stop_ends_endless_reads(serve: Serve) -> None:
    with serve(**SETTINGS) as server, ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(_read_until_closed, server.port) for _ in range(4)]
        for read in reads:
            with suppress(TimeoutError):
                read.result(timeout=0.1)
        assert server.stop() == 0
        assert all(read.result(timeout=10) for read in reads)


def _read_until_closed(port: int) -> bool:
    """Read on one connection until the server announces that it closes it; return whether it did."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        while True:
            connection.request("GET", "/")
            with connection.getresponse() as response:
                response.read()
                if response.getheader("Connection") == "close":
                    return True


EVERY_STAGE: dict[str, Callable[[int], socket.socket]] = {
    "before a request": lambda port: opened(port, b""),
    "in a request": lambda port: opened(port, HALF_REQUESTS["half a body"]),
    "in a response": lambda port: opened(port, b"GET /getPods HTTP/1.1\r\nHost: provider\r\n\r\n"),
}


@pytest.mark.parametrize("stage", EVERY_STAGE)
def test_a_client_may_leave_at_any_stage(small: Server, stage: str) -> None:
    for _ in range(CLIENTS):
        EVERY_STAGE[stage](small.port).close()
    assert code_of(small.port, "POST", "/createPod", a_pod()) == 200
    assert "error" not in {entry["level"] for entry in small.log_lines()}


@ON_SQLITE
def test_a_stop_does_not_wait_for_half_requests(serve: Serve) -> None:
    with serve(**SETTINGS) as server, clients(server.port, HALF_REQUESTS["half a head"]):
        assert server.stop() == 0


@ON_SQLITE
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_answers_held_requests(serve: Serve, workers: str) -> None:
    with serve(**SETTINGS | {"WORKERS": workers}) as server, closing(server.client()) as client:
        assert client.request("POST", "/createPod", a_pod()).code == 200
        logs = b"/getContainerLogs?namespace=default&podName=web-0&containerName=web&follow=true"
        with closing(opened(server.port, b"GET %b HTTP/1.1\r\nHost: provider\r\n\r\n" % logs)) as follower:
            received = follower.recv(1 << 16)
            os.killpg(server.process.pid, signal.SIGINT)
            assert server.process.wait(15) == 0
            assert (received + until_closed(follower)).endswith(b"\r\n0\r\n\r\n")


GET = b"GET /getPods HTTP/1.1\r\nHost: provider\r\n"
MALFORMED = {
    400: GET + b"No colon\r\n\r\n",
    417: GET + b"Expect: a miracle\r\n\r\n",
    431: GET + b"Large: %b\r\n\r\n" % (b"a" * 2 * LIMIT),
    501: GET + b"Transfer-Encoding: unknown, chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("code", MALFORMED)
def test_a_malformed_request_is_answered_in_json(small: Server, code: int) -> None:
    with closing(opened(small.port, MALFORMED[code])) as connection:
        head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % code)
    assert b"\r\nContent-Type: application/json" in head
    error = json.loads(body)["error"]
    assert error["code"] == code
    assert error["message"].startswith("malformed request: ")


def test_a_malformed_request_is_logged_without_bytes(small: Server) -> None:
    with closing(opened(small.port, GET + b"s3cret\r\n\r\n")) as connection:
        until_closed(connection)
    assert "malformed request" in small.log.read_text()
    assert "s3cret" not in small.log.read_text()
