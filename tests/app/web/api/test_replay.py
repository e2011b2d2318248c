"""Requests recorded from the original broker, in order: the responses are those that it needs."""

import json
from collections.abc import Callable
from itertools import cycle
from typing import Any
from urllib.parse import parse_qs, urlencode

from app.db.engine import Database
from app.db.models import AuditEvent, Pod
from conformance.wire import Answer, Connection
from tests.app.web.conftest import Connect, rows
from tests.conftest import Serve
from tests.server import ROOT, Server

RECORDING = ROOT / "tests" / "data" / "original-broker.jsonl"

Key = tuple[str, str]
Pods = dict[Key, dict[str, Any]]
"""The last sent state of each pod, as the client knows it."""


class Request:
    """A recorded request."""

    def __init__(self, line: str) -> None:
        recorded = json.loads(line)
        self.method: str = recorded["method"]
        self.path: str = recorded["path"]
        self.query = {name: values[0] for name, values in parse_qs(recorded["query"]).items()}
        self.pod: dict[str, Any] = recorded["body"]
        self._target = f"{self.path}?{recorded['query']}" if recorded["query"] else self.path
        self._headers: dict[str, str] = recorded["headers"]

    @property
    def key(self) -> Key:
        """Return the namespace and name of the pod."""
        if self.pod:
            return self.pod["metadata"]["namespace"], self.pod["metadata"]["name"]
        return self.query["namespace"], self.query.get("name") or self.query["podName"]

    def bytes_for(self, port: int) -> bytes:
        """Return the bytes of the recorded request, for another port."""
        body = json.dumps(self.pod, separators=(",", ":"), ensure_ascii=False).encode() if self.pod else b""
        assert int(self._headers.get("Content-Length", "0")) == len(body)
        headers = {**self._headers, "Host": f"127.0.0.1:{port}"}
        lines = [f"{self.method} {self._target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


def recording() -> list[Request]:
    return [Request(line) for line in RECORDING.read_text().splitlines()]


def get_pods(request: Request, answer: Answer, pods: Pods) -> None:
    listed = {(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in json.loads(answer.body)}
    assert listed == set(pods)


def get_pod(request: Request, answer: Answer, pods: Pods) -> None:
    read, sent = json.loads(answer.body), pods[request.key]
    assert read["metadata"]["uid"] == sent["metadata"]["uid"]
    assert read["spec"] == sent["spec"]


def get_pod_status(request: Request, answer: Answer, pods: Pods) -> None:
    status = json.loads(answer.body)
    assert status["phase"] == "Running"
    running = {container["name"] for container in status["containerStatuses"] if "running" in container["state"]}
    assert running == {container["name"] for container in pods[request.key]["spec"]["containers"]}


def get_container_logs(request: Request, answer: Answer, pods: Pods) -> None:
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert 0 < len(answer.body.splitlines()) <= int(request.query["tail"])


def create_pod(request: Request, answer: Answer, pods: Pods) -> None:
    assert (answer.header("Content-Length"), answer.body) == ("0", b"")
    pods[request.key] = request.pod


def update_pod(request: Request, answer: Answer, pods: Pods) -> None:
    assert (answer.header("Content-Length"), answer.body) == ("0", b"")
    # The recorded updates differ from the stored pods only in the order of the environment.


def delete_pod(request: Request, answer: Answer, pods: Pods) -> None:
    assert (answer.header("Content-Length"), answer.body) == ("0", b"")
    del pods[request.key]


NEEDS: dict[str, Callable[[Request, Answer, Pods], None]] = {
    "/getPods": get_pods,
    "/getPod": get_pod,
    "/getPodStatus": get_pod_status,
    "/getContainerLogs": get_container_logs,
    "/createPod": create_pod,
    "/updatePod": update_pod,
    "/deletePod": delete_pod,
}
"""Checks of the properties of a response that the client depends on, by path."""


def replay(server: Server, connections: list[Connection]) -> Pods:
    """Send the recording over alternating connections, and return the remaining pods."""
    pods: Pods = {}
    for connection, request in zip(cycle(connections), recording(), strict=False):
        connection.send(request.bytes_for(server.port))
        answer = connection.receive()
        if request.path == "/getPod" and request.key not in pods:
            assert answer.status_line == "HTTP/1.1 404 Not Found"
        else:
            assert answer.status_line == "HTTP/1.1 200 OK"
            NEEDS[request.path](request, answer, pods)
    return pods


def everything(connection: Connection, pods: Pods) -> list[bytes]:
    """Read each pod from each endpoint."""
    targets = ["/getPods"]
    for (namespace, name), pod in pods.items():
        one = urlencode({"namespace": namespace, "name": name})
        container = pod["spec"]["containers"][0]["name"]
        log = urlencode({"namespace": namespace, "podName": name, "containerName": container, "tail": 10})
        targets += [f"/getPod?{one}", f"/getPodStatus?{one}", f"/getContainerLogs?{log}"]
    answers = [connection.request("GET", target) for target in targets]
    assert {answer.code for answer in answers} == {200}
    return [answer.body for answer in answers]


def test_the_recording_survives_a_kill(serve: Serve, connect: Connect, database: Database) -> None:
    with serve() as server:
        connections = [connect(server.port), connect(server.port)]
        pods = replay(server, connections)
        before = everything(connections[0], pods)
        server.kill()

    with serve() as server:
        after = everything(connect(server.port), pods)

    assert set(pods) == {("default", "db-0"), ("default", "db-1"), ("kube-system", "agent-smdl5")}
    assert after == before
    assert [row["verb"] for row in rows(database, AuditEvent)] == ["create"] * 6 + ["delete"] * 3
    assert [row["revision"] for row in rows(database, AuditEvent)] == list(range(1, 10))
    assert len(rows(database, Pod)) == 6


def test_the_recording_has_the_expected_requests() -> None:
    paths = [request.path for request in recording()]

    assert len(paths) == 50
    assert paths[0] == "/getPods"
    assert {path: paths.count(path) for path in ("/createPod", "/updatePod", "/deletePod")} == {
        "/createPod": 6,
        "/updatePod": 13,
        "/deletePod": 3,
    }
