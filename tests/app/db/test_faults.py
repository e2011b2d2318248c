"""Database faults: clients get an error, nothing is damaged, and the provider recovers by itself."""

import fcntl
import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, event, make_url, text
from werkzeug.test import TestResponse

from app.db.engine import Database
from app.db.models import Base
from tests.app.db.consistency import assert_nothing_is_half_written
from tests.app.db.damage import DAMAGES, NEWER_FORMAT, WAL_FORMAT, Damage, set_write_version
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod
from tests.waiting import write_under_way

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def forget_connections(app: Flask) -> None:
    """Close the connections, so that the application reconnects, as a new worker or thread does."""
    services_of(app).database.dispose()


def message(answer: TestResponse) -> str:
    """Return the message of a 503 response."""
    assert answer.status == "503 Service Unavailable", answer.text
    assert int(answer.headers["Retry-After"]) > 0
    error = answer.get_json()["error"]
    assert error["code"] == 503
    found: str = error["message"]
    return found


def contents(database: Database) -> dict[str, list[Any]]:
    """Return all rows of all tables."""
    with database.read() as connection:
        return {
            name: [tuple(row) for row in connection.execute(table.select())]
            for name, table in Base.metadata.tables.items()
        }


@pytest.fixture
def file(database_url: str) -> Path:
    return Path(make_url(database_url).database or "")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the shortest lock timeout that both databases support."""
    monkeypatch.setattr("app.db.engine.BUSY_TIMEOUT_SECONDS", 1)


@pytest.mark.usefixtures("impatient")
def test_writes_are_503_while_the_database_is_locked(
    client: FlaskClient, database: Database, database_url: str
) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    before = contents(database)
    with write_under_way(database_url):
        assert "locked" in message(client.post("/createPod", json=a_pod("web-1")))
        assert contents(database) == before
    assert client.post("/createPod", json=a_pod("web-1")).status_code == 200
    assert_nothing_is_half_written(database)


@ON_SQLITE
@pytest.mark.usefixtures("impatient")
def test_a_process_hanging_in_a_write_blocks_nobody(client: FlaskClient, file: Path) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    with ThreadPoolExecutor(1) as pool, Path(f"{file}.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = pool.submit(client.post, "/createPod", json=a_pod("web-1")).result(timeout=30)
        assert "locked" in message(answer)
    assert client.post("/createPod", json=a_pod("web-1")).status_code == 200


@contextmanager
def rights(directory: Path, mode: int) -> Iterator[None]:
    """Restrict a directory to reading its files. Permissions do not apply to root, so run as `nobody`."""
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(mode)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o755)
        for path in directory.iterdir():
            path.chmod(0o600)


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """Return a directory that every user can access."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@ON_SQLITE
def test_a_read_only_file_is_503_until_writable(
    sqlite_template: Path, public_directory: Path, make_app: MakeApp
) -> None:
    file = public_directory / "provider.db"
    shutil.copy(sqlite_template, file)
    app = make_app(database_url=f"sqlite:///{file}")
    client = app.test_client()
    assert client.post("/createPod", json=a_pod()).status_code == 200
    assert client.get("/getPods").status_code == 200  # a connection that is open remains
    with rights(public_directory, 0o555):
        assert message(client.post("/createPod", json=a_pod("web-1")))
        assert client.get("/getPods").status_code == 200
        forget_connections(app)
        assert message(client.post("/createPod", json=a_pod("web-1")))
        assert client.get("/getPods").status_code in {200, 503}
        assert client.get("/capacity").status_code == 200
    # A read-only connection stays read-only; the first failed write closes it.
    again = [client.post("/createPod", json=a_pod("web-1", uid="web-1")).status_code for _ in range(2)]
    assert again[-1] == 200


@ON_SQLITE
def test_an_inaccessible_directory_is_503(
    sqlite_template: Path, public_directory: Path, make_app: MakeApp
) -> None:
    directory = public_directory / "data"
    directory.mkdir()
    shutil.copy(sqlite_template, directory / "provider.db")
    app = make_app(database_url=f"sqlite:///{directory}/provider.db")
    client = app.test_client()
    assert client.get("/getPods").status_code == 200
    forget_connections(app)
    with rights(directory, 0):
        for answer in (client.get("/getPods"), client.get("/readyz"), client.post("/createPod", json=a_pod())):
            assert message(answer)
    assert client.get("/getPods").status_code == 200


@ON_SQLITE
def test_a_read_only_sqlite_database_serves_reads(app: Flask, client: FlaskClient, file: Path) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    forget_connections(app)
    set_write_version(file, NEWER_FORMAT)
    assert message(client.post("/createPod", json=a_pod("web-1"))) == "the database is read-only"
    assert [pod["metadata"]["name"] for pod in client.get("/getPods").get_json()] == ["web-0"]
    forget_connections(app)
    set_write_version(file, WAL_FORMAT)
    assert client.post("/createPod", json=a_pod("web-1")).status_code == 200


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_read_only_postgresql_serves_reads(app: Flask, client: FlaskClient, database_url: str) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    name = make_url(database_url).database
    administrator = create_engine(make_url(database_url)).execution_options(isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        forget_connections(app)
        assert message(client.post("/createPod", json=a_pod("web-1"))) == "the database is read-only"
        assert len(client.get("/getPods").get_json()) == 1
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = off"))
    administrator.dispose()
    forget_connections(app)
    assert client.post("/createPod", json=a_pod("web-1")).status_code == 200


@ON_SQLITE
def test_a_full_disk_is_503_until_space_returns(app: Flask, client: FlaskClient, database: Database) -> None:
    pages = 1  # fewer than exist

    @event.listens_for(services_of(app).database.engine, "connect")
    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    small = a_pod("small")
    grown = {**small, "spec": {"containers": [a_container(args=["x" * 1_000_000])]}}
    big = a_pod("big", containers=[a_container(args=["x" * 1_000_000])])
    assert client.post("/createPod", json=small).status_code == 200
    before = contents(database)

    for answer in (client.post("/createPod", json=big), client.put("/updatePod", json=grown)):
        assert message(answer) == "the disk of the database is full"
        assert contents(database) == before
    assert client.get("/getPod?namespace=default&name=small").status_code == 200

    pages = 1_000_000
    forget_connections(app)
    assert client.post("/createPod", json=big).status_code == 200
    assert_nothing_is_half_written(database)


@ON_SQLITE
def test_reads_succeed_on_a_full_disk(app: Flask, client: FlaskClient, clock: Clock, database: Database) -> None:
    annotations = {
        f"synthetic.virtual-kubelet.io/{name}": value
        for name, value in {"run-for": "1s", "exit-code": "1"}.items()
    }
    for name in ("web-0", "web-1"):
        pod = a_pod(name, uid=name, metadata={"annotations": annotations})
        assert client.post("/createPod", json=pod).status_code == 200
    revision = client.get("/podStatuses?since=0").get_json()["revision"]

    @event.listens_for(services_of(app).database.engine, "connect")
    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1").close()

    forget_connections(app)
    clock.advance(86400)  # statuses are overdue
    before = contents(database)["pod_statuses"]
    assert len(client.get("/getPods").get_json()) == 2
    assert client.get("/getPodStatus?namespace=default&name=web-0").status_code == 200
    assert client.get(f"/podStatuses?since={revision}").status_code == 200
    assert contents(database)["pod_statuses"] == before


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_full_disk_of_postgresql_is_503(client: FlaskClient, database: Database) -> None:
    """Raise the error by a trigger, with the code (SQLSTATE 53100) that PostgreSQL uses."""
    with database.write() as connection:
        connection.execute(
            text(
                """CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"""
            )
        )
        connection.execute(text("CREATE TRIGGER fill BEFORE INSERT ON pod_statuses EXECUTE FUNCTION fill()"))
    before = contents(database)

    assert message(client.post("/createPod", json=a_pod())) == "the disk of the database is full"
    assert contents(database) == before


@ON_SQLITE
def test_a_file_size_limit_is_503_without_damage(client: FlaskClient, database: Database, file: Path) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    before = contents(database)
    with no_file_longer_than(Path(f"{file}-wal").stat().st_size):
        assert "the disk of the database" in message(client.post("/createPod", json=a_pod("web-1")))
        assert client.get("/getPods").status_code == 200
    assert contents(database) == before
    assert client.post("/createPod", json=a_pod("web-1")).status_code == 200
    assert_nothing_is_half_written(database)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Limit the file size, so that the kernel rejects writes as on a full disk or quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@ON_SQLITE
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_503_and_no_bug(app: Flask, client: FlaskClient, file: Path, damage: Damage) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    forget_connections(app)
    damage(file)
    for answer in (
        client.get("/readyz"),
        client.get("/getPods"),
        client.get("/getPod?namespace=default&name=web-0"),
        client.post("/createPod", json=a_pod("web-1")),
    ):
        assert message(answer) == DAMAGES[damage]
    assert client.get("/nodeConditions").status_code == 200


@ON_SQLITE
def test_a_removed_directory_is_503(app: Flask, client: FlaskClient, file: Path) -> None:
    assert client.post("/createPod", json=a_pod()).status_code == 200
    shutil.rmtree(file.parent)
    assert message(client.post("/createPod", json=a_pod("web-1")))
    assert client.get("/getPods").status_code in {200, 503}
    forget_connections(app)
    for path in ("/readyz", "/getPods", "/getPod?namespace=default&name=web-0"):
        assert "vkweb migrate" in message(client.get(path))
    assert message(client.post("/createPod", json=a_pod("web-1")))
    assert not file.parent.exists()
    for path in ("/healthz", "/capacity", "/nodeAddresses"):
        assert client.get(path).status_code == 200


@ON_SQLITE
def test_writes_go_to_a_restored_backup(client: FlaskClient, file: Path, sqlite_template: Path) -> None:
    assert client.post("/createPod", json=a_pod("before")).status_code == 200
    file.parent.rename(file.parent.with_name("moved-away"))
    file.parent.mkdir()
    shutil.copy(sqlite_template, file)

    answer = client.post("/createPod", json=a_pod("afterwards"))

    with closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM pods")]
    assert (answer.status_code, names) == (200, ["afterwards"])
    assert [pod["metadata"]["name"] for pod in client.get("/getPods").get_json()] == ["afterwards"]


def test_an_exhausted_pod_cidr_is_503(make_app: MakeApp, database: Database) -> None:
    client = make_app(pod_cidr="198.18.0.0/30").test_client()
    for name in ("a", "b"):
        assert client.post("/createPod", json=a_pod(name, uid=name)).status_code == 200
    before = contents(database)
    assert "POD_CIDR" in message(client.post("/createPod", json=a_pod("c")))
    assert contents(database) == before
    assert client.post("/createPod", json=a_pod("needs-none", hostNetwork=True)).status_code == 200
    assert client.post("/createPod", json=a_pod("a", uid="takes-the-place-of-a")).status_code == 200
    assert client.delete("/deletePod", json=a_pod("b", uid="b")).status_code == 200
    assert client.post("/createPod", json=a_pod("c")).status_code == 200
    assert_nothing_is_half_written(database)
