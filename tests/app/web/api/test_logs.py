"""Logs of containers."""

from contextlib import closing
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from tests.app.web.conftest import Connect, put_on
from tests.conftest import Clock, MakeApp, Serve
from tests.pods import a_container, a_pod
from tests.server import Client
from tests.waiting import eventually


def query(tail: object = None, **more: object) -> dict[str, object]:
    wanted: dict[str, object] = {"namespace": "default", "podName": "web-0", "containerName": "web", **more}
    return wanted if tail is None else {**wanted, "tail": tail}


def test_a_log_is_plain_text(client: FlaskClient) -> None:
    put_on(client, a_pod())

    answer = client.get("/getContainerLogs", query_string=query(10))

    assert (answer.status_code, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert not answer.text.startswith('"')
    assert answer.text.endswith("\n")
    assert "web" in answer.text


def test_a_log_is_the_same_at_every_reading(make_app: MakeApp, clock: Clock) -> None:
    client = make_app().test_client()
    put_on(client, a_pod())
    before = client.get("/getContainerLogs", query_string=query()).text
    clock.advance(3600)

    assert before
    assert make_app().test_client().get("/getContainerLogs", query_string=query()).text == before


@pytest.fixture
def log(http: Client) -> list[str]:
    """Return all lines of the log of a container."""
    http.request("POST", "/createPod", a_pod("web-0", namespace="logs", uid="of-the-log", hostNetwork=True))
    lines = http.get("/getContainerLogs", **query(namespace="logs")).body.decode().splitlines(keepends=True)
    assert len(lines) > 3
    return lines


@pytest.mark.parametrize("tail", [10, 2**31, 2**63 - 1])
def test_a_tail_beyond_the_log_returns_everything(http: Client, log: list[str], tail: int) -> None:
    answer = http.get("/getContainerLogs", **query(tail, namespace="logs"))

    assert (answer.code, answer.body.decode()) == (200, "".join(log))


@pytest.mark.parametrize("tail", [-10, -(2**63)], ids=["-10", "lowest"])
def test_a_tail_that_is_negative_gives_every_line(http: Client, log: list[str], tail: int) -> None:
    answer = http.get("/getContainerLogs", **query(tail, namespace="logs"))

    assert (answer.code, answer.body.decode()) == (200, "".join(log))


@pytest.mark.parametrize("age", [10**9, 2**63, 10**30])
def test_since_seconds_before_the_start_returns_everything(http: Client, log: list[str], age: int) -> None:
    answer = http.get("/getContainerLogs", **query(namespace="logs", sinceSeconds=age))

    assert (answer.code, answer.body.decode()) == (200, "".join(log))


@pytest.mark.parametrize("tail", ["ten", "", "1.5", "1e3", "0x10", "1_000", " 5", "--5", "５", "NaN", "5;"])  # noqa: RUF001
def test_a_tail_that_is_no_number_is_400(http: Client, log: list[str], tail: str) -> None:
    answer = http.get("/getContainerLogs", **query(tail, namespace="logs"))

    assert answer.status_line == "400 Bad Request"
    assert answer.json()["error"]["field"] == "tail"


@pytest.mark.parametrize("missing", ["namespace", "podName", "containerName"])
def test_a_query_without_container_is_400(http: Client, missing: str) -> None:
    wanted = query(10)
    del wanted[missing]

    for target in (urlencode(wanted), urlencode({**wanted, missing: ""})):
        answer = http.get(f"/getContainerLogs?{target}")

        assert answer.code == 400
        assert answer.json()["error"]["field"] == missing


@pytest.mark.parametrize(
    "unknown",
    [{"podName": "web-9"}, {"namespace": "elsewhere"}, {"containerName": "sidecar"}],
    ids=["pod", "namespace", "container"],
)
def test_an_unknown_pod_or_container_is_404(http: Client, log: list[str], unknown: dict[str, str]) -> None:
    answer = http.get("/getContainerLogs", **{**query(10, namespace="logs"), **unknown})

    assert answer.status_line == "404 Not Found"
    assert next(iter(unknown.values())) in answer.json()["error"]["message"]


def test_a_waiting_container_is_400_with_its_reason(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(start_delay="5s").test_client()
    put_on(client, a_pod())

    waiting = client.get("/getContainerLogs", query_string=query(10))
    clock.advance(5)
    started = client.get("/getContainerLogs", query_string=query(10))

    assert waiting.status_code == 400
    assert "ContainerCreating" in waiting.get_json()["error"]["message"]
    assert started.status_code == 200


def test_init_containers_have_logs_too(client: FlaskClient) -> None:
    put_on(client, a_pod(initContainers=[a_container("setup")]))

    answer = client.get("/getContainerLogs", query_string=query(10, containerName="setup"))

    assert answer.status_code == 200
    assert "setup" in answer.text


def test_follow_ends_with_the_container(serve: Serve) -> None:
    overrides = {"synthetic.virtual-kubelet.io/run-for": "1s"}
    with serve() as server, closing(server.client()) as client:
        client.request("POST", "/createPod", a_pod(metadata={"annotations": overrides}, restartPolicy="Never"))
        answer = client.get("/getContainerLogs", **query(follow="true"))
    assert answer.headers["Transfer-Encoding"] == "chunked"
    *lines, last = answer.body.decode().splitlines()
    assert lines
    assert "exit" in last


def test_a_disconnected_follower_frees_its_thread(serve: Serve, connect: Connect) -> None:
    target = f"/getContainerLogs?{urlencode(query(follow='true'))}"
    with serve(WORKERS="1", THREADS="2") as server, closing(server.client()) as client:
        client.request("POST", "/createPod", a_pod())
        follower = connect(server.port)
        follower.send(f"GET {target} HTTP/1.1\r\nHost: provider\r\n\r\n".encode())
        eventually(follower.has_answer)
        assert client.get("/getContainerLogs", **query(follow="true")).code == 503
        follower.close()
        eventually(lambda: client.get("/podStatuses", wait=1).code == 200)


def test_a_server_that_stops_ends_what_is_followed(serve: Serve, connect: Connect) -> None:
    target = f"/getContainerLogs?{urlencode(query(follow='true'))}"
    with serve(WORKERS="1") as server, closing(server.client()) as client:
        client.request("POST", "/createPod", a_pod())
        follower = connect(server.port)
        follower.send(f"GET {target} HTTP/1.1\r\nHost: provider\r\n\r\n".encode())
        eventually(follower.has_answer)
        assert server.stop() == 0
        assert follower.receive().body.endswith(b"\n"), "the answer is whole, down to its last chunk"
