"""`GET /podStatuses`: the changes since a revision."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.db.engine import Database
from app.db.models import Fleet
from tests.app.web.conftest import Connect, change, put_on, rows
from tests.conftest import Clock, MakeApp, Serve
from tests.pods import a_pod
from tests.server import Client, Server
from tests.waiting import eventually, together


def changes(client: FlaskClient | Client, since: int = 0, **more: object) -> dict[str, Any]:
    query = {"since": since, **more}
    if isinstance(client, Client):
        answer = client.get("/podStatuses", **query)
        assert answer.code == 200, answer.body
        found: dict[str, Any] = answer.json()
    else:
        response = client.get("/podStatuses", query_string=query)
        assert response.status_code == 200, response.text
        found = response.get_json()
    assert set(found) == {"revision", "statuses", "deleted"}
    return found


def names(pods: list[dict[str, Any]]) -> list[str]:
    return sorted(pod["name"] for pod in pods)


def test_an_empty_node_has_nothing_to_tell(client: FlaskClient) -> None:
    assert changes(client) == {"revision": 0, "statuses": [], "deleted": []}


def test_revision_0_returns_every_live_pod(client: FlaskClient) -> None:
    gone, pod = put_on(client, a_pod("gone")), put_on(client, a_pod("web"))
    client.delete("/deletePod", json=gone)

    found = changes(client)

    status = client.get("/getPodStatus?namespace=default&name=web").get_json()
    assert found["statuses"] == [
        {"namespace": "default", "name": "web", "uid": pod["metadata"]["uid"], "status": status}
    ]
    assert found["deleted"] == []


def test_a_revision_returns_later_changes_only(client: FlaskClient) -> None:
    kept, changed, gone = (put_on(client, a_pod(name)) for name in ("kept", "changed", "gone"))
    revision = changes(client)["revision"]
    assert changes(client, revision) == {"revision": revision, "statuses": [], "deleted": []}

    change(client, {**changed, "metadata": {**changed["metadata"], "labels": {"app": "other"}}})
    client.delete("/deletePod", json=gone)
    put_on(client, a_pod("new"))

    found = changes(client, revision)
    assert names(found["statuses"]) == ["changed", "new"]
    (deleted,) = found["deleted"]
    assert (deleted["name"], deleted["uid"]) == ("gone", gone["metadata"]["uid"])
    assert deleted["status"]["phase"] == "Succeeded"
    assert changes(client, found["revision"])["statuses"] == []
    assert kept


def test_a_due_status_is_returned_once(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(start_delay="1s").test_client()
    put_on(client, a_pod())
    first = changes(client)
    assert first["statuses"][0]["status"]["phase"] == "Pending"

    clock.advance(0.9)
    assert changes(client, first["revision"])["statuses"] == []
    clock.advance(0.1)
    second = changes(client, first["revision"])
    assert [pod["status"]["phase"] for pod in second["statuses"]] == ["Running"]
    clock.advance(3600)
    assert changes(client, second["revision"]) == {"revision": second["revision"], "statuses": [], "deleted": []}


def test_a_slow_clock_does_not_hide_a_write(make_app: MakeApp, clock: Clock, database: Database) -> None:
    client = make_app(start_delay="2s").test_client()
    put_on(client, a_pod("early"))
    clock.advance(2)
    seen = changes(client)["revision"]
    settled_at = rows(database, Fleet)[0]["settled_at"]

    clock.advance(-3600)
    put_on(client, a_pod("late"))
    found = changes(client, seen)
    assert names(found["statuses"]) == ["late"]
    clock.now = settled_at
    clock.advance(2)
    found = changes(client, found["revision"])
    assert [(pod["name"], pod["status"]["phase"]) for pod in found["statuses"]] == [("late", "Running")]


def test_a_future_revision_returns_everything(client: FlaskClient) -> None:
    put_on(client, a_pod("web"))
    assert names(changes(client, 1_000_000, wait=60)["statuses"]) == ["web"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("since=x", "since"), ("since=-1", "since"), ("wait=soon", "wait"), ("wait=-1", "wait")],
)
def test_what_is_no_number_is_refused(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/podStatuses?{query}")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["field"] == field


class Waiting:
    """A long poll that runs in a thread."""

    def __init__(self, server: Server, since: int, wait: int = 60) -> None:
        self.answer: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._ask, args=(server, since, wait))
        self._thread.start()

    def _ask(self, server: Server, since: int, wait: int) -> None:
        with closing(server.client()) as client:
            self.answer = changes(client, since, wait=wait)

    def result(self) -> dict[str, Any]:
        self._thread.join(30)
        assert self.answer is not None
        return self.answer


def test_a_write_by_another_worker_ends_the_wait(serve: Serve) -> None:
    with serve(WORKERS="2") as server, closing(server.client()) as client:
        seen = changes(client)["revision"]
        waiting = [Waiting(server, seen) for _ in range(4)]
        client.request("POST", "/createPod", a_pod("web"))
        assert [names(each.result()["statuses"]) for each in waiting] == [["web"]] * 4


def test_a_due_status_ends_the_wait(serve: Serve) -> None:
    with serve(START_DELAY="1s") as server, closing(server.client()) as client:
        client.request("POST", "/createPod", a_pod("web"))
        seen = changes(client)
        assert seen["statuses"][0]["status"]["phase"] == "Pending"
        found = Waiting(server, seen["revision"]).result()
        assert found["statuses"][0]["status"]["phase"] == "Running"


def test_a_stopping_server_answers_held_requests(serve: Serve) -> None:
    with serve(WORKERS="1") as server, closing(server.client()) as client:
        waiting = Waiting(server, changes(client)["revision"])
        eventually(lambda: b"provider_held_requests 1.0" in client.get("/metrics").body)
        client.close()
        assert server.stop() == 0
        assert waiting.result()["statuses"] == []


def test_held_requests_are_limited(serve: Serve, connect: Connect) -> None:
    with serve(WORKERS="1", THREADS="2") as server, closing(server.client()) as client:
        both = [connect(server.port) for _ in range(2)]
        for connection in both:
            connection.send(b"GET /podStatuses?wait=60 HTTP/1.1\r\nHost: provider\r\n\r\n")
        refused = eventually(lambda: next((c for c in both if c.has_answer()), None))
        answer = refused.receive()
        assert (answer.code, answer.header("Retry-After")) == (503, "1")
        assert client.get("/healthz").code == 200, "there is a thread for everything else"

        both.remove(refused)
        both[0].close()
        eventually(lambda: client.get("/podStatuses", wait=1).code == 200)


WRITERS, READERS, PODS = 4, 2, 12


def test_readers_miss_no_change_under_load(serve: Serve) -> None:
    """Compare the changes that concurrent readers received with the pods, with two workers."""
    last_revision: Future[int] = Future()
    with serve(WORKERS="2", START_DELAY="50ms") as server, ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(follow, server, last_revision) for _ in range(READERS)]
        together(WRITERS, lambda number: write(server, number))
        with closing(server.client()) as client:
            pods = eventually(lambda: all_running(client.get("/getPods").json()) and changes(client)["statuses"])
            last_revision.set_result(changes(client)["revision"])
        truth = {pod["name"]: pod["status"]["phase"] for pod in pods}
        assert len(truth) == WRITERS * PODS * 2 // 3
        assert [reader.result() for reader in readers] == [truth] * READERS


def write(server: Server, number: int) -> None:
    """Create pods; delete one of three and update another."""
    with closing(server.client()) as client:
        for index in range(PODS):
            pod = a_pod(f"web-{number}-{index}")
            assert client.request("POST", "/createPod", pod).code == 200
            if index % 3 == 0:
                assert client.request("DELETE", "/deletePod", pod).code == 200
            if index % 3 == 1:
                pod["metadata"]["labels"] = {"app": "other"}
                assert client.request("PUT", "/updatePod", pod).code == 200


def follow(server: Server, last_revision: "Future[int]") -> dict[str, str]:
    """Merge the changes that a reader receives up to the last revision."""
    known: dict[str, str] = {}
    revision = 0
    with closing(server.client()) as client:
        while not last_revision.done() or revision < last_revision.result():
            found = changes(client, revision, wait=1)
            revision = found["revision"]
            known |= {pod["name"]: pod["status"]["phase"] for pod in found["statuses"]}
            for pod in found["deleted"]:
                known.pop(pod["name"], None)
    return known


def all_running(pods: list[dict[str, Any]]) -> bool:
    return all(pod["status"]["phase"] == "Running" for pod in pods)
