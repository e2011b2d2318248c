"""Acknowledged writes survive kills: write continuously, kill a process, and compare the database."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import make_url, select

from app.db.engine import Database
from app.db.migrate import upgrade
from app.db.models import Pod
from app.db.revision import head
from tests.app.db.consistency import assert_nothing_is_half_written
from tests.conftest import Serve
from tests.pods import a_container, a_pod
from tests.postgres import PostgresServer, find_binaries, free_port
from tests.server import Answer, Client, Server, serving
from tests.waiting import booted, eventually

WRITERS = 8
Outcome = tuple[str, str] | None
"""The state of a pod: its UID and image, or None if it is deleted."""


@dataclass
class Writer:
    """A client that creates, updates and deletes its pods, and stores the acknowledged state of each.

    Attributes:
        promised: the last state of each pod that was acknowledged.
        open: the requested state that is not acknowledged, yet or because the response was lost.
        answers: the number of responses by status code.
    """

    prefix: str
    server: Server
    promised: dict[str, Outcome] = field(default_factory=dict)
    open: dict[str, Outcome] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    unlike: list[Answer] = field(default_factory=list)

    def run(self, stop: Event) -> None:
        """Write until the stop event is set; reconnect after a lost connection."""
        client = Client(self.server.port)
        for number in count():
            name = f"{self.prefix}-{number}"
            for attempt in self.requests(name, number):
                if stop.is_set():
                    client.close()
                    return
                try:
                    done = attempt(client)
                except (OSError, HTTPException):
                    client.close()
                    done = False
                if not done:
                    break

    def requests(self, name: str, number: int) -> Iterator[Callable[[Client], bool]]:
        """Yield the requests for a pod, or a batch: all are created, many updated, some deleted."""
        if number % 4 == 3:
            pods = [a_pod(f"{name}-{letter}", nodeName=f"node-{letter}") for letter in "abc"]
            yield lambda client: self.send_batch(client, "POST", "/createPods", pods)
            yield lambda client: self.send_batch(client, "DELETE", "/deletePods", pods[:2])
            return
        pod = a_pod(name)
        yield lambda client: self.send(client, "POST", "/createPod", pod)
        if number % 2:
            changed = {**pod, "spec": {"containers": [a_container(image=f"nginx:{number}")]}}
            yield lambda client: self.send(client, "PUT", "/updatePod", changed)
        if number % 3 == 0:
            yield lambda client: self.send(client, "DELETE", "/deletePod", pod)

    def send(self, client: Client, method: str, path: str, pod: dict[str, Any]) -> bool:
        return self.exchange(client, method, path, pod, [pod])

    def send_batch(self, client: Client, method: str, path: str, pods: list[dict[str, Any]]) -> bool:
        return self.exchange(client, method, path, pods, pods)

    def exchange(self, client: Client, method: str, path: str, body: object, pods: list[dict[str, Any]]) -> bool:
        for pod in pods:
            state = (pod["metadata"]["uid"], pod["spec"]["containers"][0]["image"])
            self.open[pod["metadata"]["name"]] = None if method == "DELETE" else state
        answer = client.request(method, path, body)
        self.answers[answer.code] = self.answers.get(answer.code, 0) + 1
        outcomes = answer.json() if answer.code == 200 and answer.body else []
        if answer.code == 200 and {outcome["code"] for outcome in outcomes} <= {200}:
            for pod in pods:
                name = pod["metadata"]["name"]
                self.promised[name] = self.open.pop(name)
            return True
        if answer.code != 503 or "Retry-After" not in answer.headers or answer.json()["error"]["code"] != 503:
            self.unlike.append(answer)
        return False

    def allowed(self, name: str) -> list[Outcome]:
        """Return the allowed states of a pod: the acknowledged one, and that of an open request."""
        return [self.promised.get(name), *([self.open[name]] if name in self.open else [])]


@contextmanager
def writing(server: Server, *, prefix: str = "w") -> Iterator[list[Writer]]:
    """Run clients that write during the block."""
    stop = Event()
    writers = [Writer(f"{prefix}{number}", server) for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        futures: list[Future[None]] = [pool.submit(writer.run, stop) for writer in writers]
        try:
            yield writers
        finally:
            stop.set()
    for future in futures:
        future.result()


def acknowledged(writers: list[Writer]) -> int:
    return sum(writer.answers.get(200, 0) for writer in writers)


def stored(database: Database) -> dict[str, Outcome]:
    """Return the pods in the database."""
    with database.read() as connection:
        pods = connection.execute(select(Pod.name, Pod.uid, Pod.pod).where(Pod.deleted_at.is_(None)))
        return {name: (uid, json.loads(pod)["spec"]["containers"][0]["image"]) for name, uid, pod in pods}


def served(server: Server) -> dict[str, Outcome]:
    """Return the pods in the responses of the provider."""
    with closing(server.client()) as client:
        pods = client.get("/getPods").json()
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["spec"]["containers"][0]["image"]) for pod in pods
    }


def assert_every_promise_is_kept(writers: list[Writer], found: dict[str, Outcome]) -> None:
    """Compare the acknowledged states with the stored ones."""
    assert [writer.unlike for writer in writers if writer.unlike] == []
    broken = {
        name: (found.get(name), writer.allowed(name))
        for writer in writers
        for name in {**writer.promised, **writer.open}
        if found.get(name) not in writer.allowed(name)
    }
    assert broken == {}
    unasked = found.keys() - {name for writer in writers for name in {**writer.promised, **writer.open}}
    assert unasked == set()


def test_acknowledged_writes_survive_sigkill_of_all_processes(serve: Serve, database: Database) -> None:
    writers: list[Writer] = []
    for attempt in range(3):
        with serve() as server:
            assert_every_promise_is_kept(writers, served(server))
            with writing(server, prefix=f"round-{attempt}-") as this_round:
                eventually(lambda: acknowledged(this_round) >= 200)
                server.kill()
        writers += this_round
        assert_every_promise_is_kept(writers, stored(database))
        assert_nothing_is_half_written(database)


def test_a_killed_worker_is_replaced_without_data_loss(serve: Serve, database: Database) -> None:
    with serve(WORKERS="2") as server:
        killed, _ = booted(server, 2)
        with writing(server) as writers:
            eventually(lambda: acknowledged(writers) >= 100)
            os.kill(killed, signal.SIGKILL)
            booted(server, 3)
            so_far = acknowledged(writers)
            eventually(lambda: acknowledged(writers) >= so_far + 100)
    assert_every_promise_is_kept(writers, stored(database))
    assert_nothing_is_half_written(database)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_readers_in_other_processes_lose_no_writes(serve: Serve, database: Database, database_url: str) -> None:
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM pods')"
    path = str(make_url(database_url).database)
    for minimum in ("0", "8Ei"):  # without and with a shortage of disk space
        with serve(MIN_FREE_DISK=minimum) as server, closing(server.client()) as client:
            for number in range(2):
                created = client.request("POST", "/createPod", a_pod(f"pod-{minimum}-{number}"))
                assert created.code == (200 if minimum == "0" else 503)
                for probe in ("/nodeConditions", "/readyz", "/getPods"):
                    client.get(probe)
                subprocess.run([sys.executable, "-c", script, path], check=True)
                assert Path(f"{path}-wal").exists(), "SQLite deletes it when the last process closes the database"
            server.kill()
    assert stored(database).keys() == {"pod-0-0", "pod-0-1"}


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that can be stopped, with `fsync` on."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: in CI nothing is skipped")
        pytest.skip("PostgreSQL (initdb, postgres) is not installed")
    server = PostgresServer(binaries, durable=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_a_stopped_postgresql_is_503_until_it_returns(own_postgres: PostgresServer, tmp_path: Path) -> None:
    url = own_postgres.url()
    upgrade(make_url(url))
    with serving(free_port(), {"DATABASE_URL": url}, tmp_path / "server.log") as server:
        workers = booted(server, 2)
        with writing(server) as writers:
            eventually(lambda: acknowledged(writers) >= 100)
            own_postgres.stop()
            eventually(lambda: all(503 in writer.answers for writer in writers))
            assert_only_what_needs_the_database_is_unavailable(server)
            own_postgres.start()
            so_far = acknowledged(writers)
            eventually(lambda: acknowledged(writers) >= so_far + 100)
        assert booted(server, 2) == workers

    database = Database(make_url(url), head=head())
    assert_every_promise_is_kept(writers, stored(database))
    assert_nothing_is_half_written(database)
    database.dispose()


def assert_only_what_needs_the_database_is_unavailable(server: Server) -> None:
    client = server.client()
    for path in ("/healthz", "/", "/capacity", "/nodeConditions", "/nodeAddresses"):
        assert client.get(path).code == 200, path
    named = {"namespace": "default", "name": "web-0"}
    answers = {
        "/readyz": client.get("/readyz"),
        "/getPods": client.get("/getPods"),
        "/getPod": client.get("/getPod", **named),
        "/getPodStatus": client.get("/getPodStatus", **named),
        "/getContainerLogs": client.get(
            "/getContainerLogs", namespace="default", podName="web-0", containerName="web"
        ),
        "/createPod": client.request("POST", "/createPod", a_pod()),
        "/updatePod": client.request("PUT", "/updatePod", a_pod()),
        "/deletePod": client.request("DELETE", "/deletePod", a_pod()),
    }
    client.close()
    for path, answer in answers.items():
        assert answer.status_line == "503 Service Unavailable", path
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["error"]["code"] == 503
        assert answer.json()["error"]["message"].startswith("the database does not answer")
