"""Concurrent clients of gunicorn with several workers: no write is lost, duplicated or delayed."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient
from sqlalchemy import make_url, select

from app import create_app
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import AuditEvent, Fleet, Pod
from app.db.revision import head
from tests.app.db.consistency import assert_nothing_is_half_written
from tests.conftest import MakeApp, MakeDatabaseUrl, services_of
from tests.pods import a_container, a_pod
from tests.postgres import free_port
from tests.server import Client, Server, serving
from tests.waiting import together, together_in_processes, write_under_way

_numbers = count()


@dataclass
class Provider:
    """Return a provider shared by the tests of this module; each uses its own namespace."""

    server: Server
    database: Database
    database_url: str

    def client(self) -> "closing[Client]":
        return closing(self.server.client())

    def pods(self, namespace: str) -> Sequence[Any]:
        with self.database.read() as connection:
            return connection.execute(select(Pod).where(Pod.namespace == namespace).order_by(Pod.id)).all()

    def events(self, namespace: str) -> Sequence[Any]:
        with self.database.read() as connection:
            return connection.execute(select(AuditEvent).where(AuditEvent.namespace == namespace)).all()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def provider(
    request: pytest.FixtureRequest, make_database_url: MakeDatabaseUrl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Provider]:
    url = make_database_url(request.param)
    database = Database(make_url(url), head=head())
    log = tmp_path_factory.mktemp("concurrency") / "server.log"
    with serving(free_port(), {"DATABASE_URL": url, "WORKERS": "2"}, log) as server:
        yield Provider(server, database, url)
    assert_nothing_is_half_written(database)
    database.dispose()


@pytest.fixture
def namespace() -> str:
    return f"test-{next(_numbers)}"


def test_16_simultaneous_creates_make_one_pod(provider: Provider, namespace: str) -> None:
    pod = a_pod(namespace=namespace)

    def create(_: int) -> int:
        with provider.client() as client:
            return client.request("POST", "/createPod", pod).code

    assert together(16, create) == [200] * 16
    assert len(provider.pods(namespace)) == 1
    assert len(provider.events(namespace)) == 1


def test_the_last_of_16_simultaneous_replacements_wins(provider: Provider, namespace: str) -> None:
    def create(number: int) -> int:
        with provider.client() as client:
            return client.request(
                "POST", "/createPod", a_pod(namespace=namespace, uid=f"{namespace}-{number}")
            ).code

    assert together(16, create) == [200] * 16
    pods = provider.pods(namespace)
    assert len({pod.uid for pod in pods}) == 16
    assert [pod.deleted_at is None for pod in pods] == [False] * 15 + [True]
    assert len(provider.events(namespace)) == 16


def test_16_clients_with_50_pods_each_lose_none(provider: Provider, namespace: str) -> None:
    def create(number: int) -> Counter[int]:
        with provider.client() as client:
            pods = (a_pod(f"pod-{number}-{i}", namespace=namespace) for i in range(50))
            return Counter(client.request("POST", "/createPod", pod).code for pod in pods)

    assert together(16, create) == [Counter({200: 50})] * 16
    pods = provider.pods(namespace)
    assert {pod.name for pod in pods} == {f"pod-{number}-{i}" for number in range(16) for i in range(50)}
    assert len({pod.pod_ip for pod in pods}) == 800
    revisions = sorted(pod.revision for pod in pods)
    assert revisions == list(range(revisions[0], revisions[0] + 800))
    assert sorted(event.revision for event in provider.events(namespace)) == revisions


def test_one_of_16_simultaneous_deletes_succeeds(provider: Provider, namespace: str) -> None:
    pod = a_pod(namespace=namespace)
    with provider.client() as client:
        client.request("POST", "/createPod", pod)

    def delete(_: int) -> str:
        with provider.client() as client:
            return client.request("DELETE", "/deletePod", pod).status_line

    assert Counter(together(16, delete)) == {"200 OK": 1, "404 Not Found": 15}
    assert Counter(event.code for event in provider.events(namespace) if event.verb == "delete") == {
        200: 1,
        404: 15,
    }


def test_clients_competing_for_a_name_break_nothing(provider: Provider, namespace: str) -> None:
    def fight(number: int) -> Counter[int]:
        chance = random.Random(number)
        codes: Counter[int] = Counter()
        with provider.client() as client:
            for attempt in range(30):
                method, path = chance.choice(
                    [("POST", "/createPod"), ("PUT", "/updatePod"), ("DELETE", "/deletePod"), ("GET", "/getPod")]
                )
                pod = a_pod(
                    namespace=namespace,
                    uid=f"{namespace}-{chance.randrange(3)}",
                    containers=[a_container(image=f"nginx:{number}.{attempt}")],
                )
                query: dict[str, object] = {"namespace": namespace, "name": "web-0"}
                codes[
                    client.request(method, path, query=query).code
                    if method == "GET"
                    else client.request(method, path, pod).code
                ] += 1
        return codes

    assert set().union(*together(8, fight)) == {200, 404}
    live = [pod for pod in provider.pods(namespace) if pod.deleted_at is None]
    with provider.client() as client:
        answer = client.get("/getPod", namespace=namespace, name="web-0")
    assert [pod.uid for pod in live] == ([answer.json()["metadata"]["uid"]] if answer.code == 200 else [])


def test_readers_do_not_wait_for_a_writer(provider: Provider, namespace: str) -> None:
    with provider.client() as client:
        client.request("POST", "/createPod", a_pod(namespace=namespace))
    named: dict[str, object] = {"namespace": namespace, "name": "web-0"}
    container: dict[str, object] = {"namespace": namespace, "podName": "web-0", "containerName": "web"}

    def write() -> int:
        with provider.client() as client:
            return client.request("POST", "/createPod", a_pod("waits", namespace=namespace)).code

    def read(_: int) -> list[int]:
        with provider.client() as client:
            return [
                client.get("/getPods").code,
                client.get("/getPod", **named).code,
                client.get("/getPodStatus", **named).code,
                client.get("/getContainerLogs", **container).code,
                client.get("/readyz").code,
            ]

    with ThreadPoolExecutor(1) as pool:
        with write_under_way(provider.database_url):
            writer = pool.submit(write)
            assert together(4, read) == [[200] * 5] * 4
            assert not writer.done()
        assert writer.result() == 200


WRITES = 480


def write_until_all_is_written(writer: int, database_url: str, *, threads: int = 1) -> int:
    app = create_app(Settings.model_validate({"database_url": database_url}))
    database = services_of(app).database

    def write(thread: int) -> int:
        client = app.test_client()
        written = 0
        while revision(database) < WRITES:
            code = client.post("/createPod", json=a_pod(f"pod-{writer}-{thread}-{written}")).status_code
            assert code in (200, 503)  # 503: no process has written for seconds, as while the disk does not write
            written += code == 200
        return written

    with ThreadPoolExecutor(threads) as pool:
        written = sum(pool.map(write, range(threads)))
    database.dispose()
    return written


def write_with_many_threads_in_the_first(writer: int, database_url: str) -> int:
    return write_until_all_is_written(writer, database_url, threads=8 if writer == 0 else 1)


def revision(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(Fleet.revision)) or 0


def test_no_writer_starves(database_url: str) -> None:
    """With SQLite's busy wait alone, some of eight processes write ten times as often as others."""
    shares = together_in_processes(8, write_until_all_is_written, database_url)
    assert sum(shares) >= WRITES
    assert min(shares) > WRITES / 8 / 2, shares


def test_a_process_with_many_writers_lets_another_write(database_url: str) -> None:
    shares = together_in_processes(2, write_with_many_threads_in_the_first, database_url)
    assert min(shares) > WRITES / 20, shares


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_fleets_sharing_a_database_are_independent(make_app: MakeApp, database_url: str) -> None:
    north, south = (make_app(node_name=name).test_client() for name in ("north", "south"))
    pod = a_pod(uid="the-same-on-both")
    for client in (north, south):
        assert client.post("/createPod", json=pod).status_code == 200

    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT name FROM fleets WHERE name = 'north' FOR UPDATE")
        assert south.post("/createPod", json=a_pod("only-south")).status_code == 200
        assert south.delete("/deletePod", json=pod).status_code == 200

    def names(client: FlaskClient) -> list[str]:
        return [pod["metadata"]["name"] for pod in client.get("/getPods").get_json()]

    assert names(north) == ["web-0"]
    assert names(south) == ["only-south"]
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT name, revision FROM fleets ORDER BY name").fetchall() == [
            ("north", 1),
            ("south", 3),
        ]


def test_a_node_finds_only_its_own_pods(make_app: MakeApp) -> None:
    north, south = (make_app(node_name=name).test_client() for name in ("north", "south"))
    assert north.post("/createPod", json=a_pod()).status_code == 200
    assert south.get("/getPods").get_json() == []
    assert south.get("/getPod?namespace=default&name=web-0").status_code == 404
    assert south.delete("/deletePod", json=a_pod()).status_code == 404
