"""The signal of committed writes, on which waiting readers sleep."""

import select
from contextlib import ExitStack

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from app.core.errors import DatabaseUnavailable
from app.core.settings import HEALTH_THREADS
from app.db.changes import ChangeSignal
from app.db.engine import Database
from app.db.fleets import add_fleet
from app.db.revision import head
from tests.conftest import services_of

NODE = "virtual-kubelet-web"
SECONDS = 30
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^LISTEN'"


def is_set(signal: ChangeSignal, *, seconds: float = 0) -> bool:
    assert signal.fd is not None
    return bool(select.select([signal.fd], [], [], seconds)[0])


def write(database: Database, fleet: str = NODE) -> None:
    with database.write() as connection:
        add_fleet(connection, fleet)
        connection.execute(text("UPDATE fleets SET revision = revision + 1 WHERE name = :name"), {"name": fleet})


@pytest.fixture
def other(database_url: str) -> Database:
    """Return the database of another process."""
    return Database(make_url(database_url), head=head())


def test_a_commit_of_another_process_sets_the_signal(database: Database, other: Database) -> None:
    with database.changes(NODE) as signal:
        assert not is_set(signal)
        write(other)
        assert is_set(signal, seconds=SECONDS)
        signal.clear()
        assert not is_set(signal)
        write(other)
        assert is_set(signal, seconds=SECONDS)
    other.dispose()


def test_a_write_is_visible_when_the_signal_is_set(database: Database, other: Database) -> None:
    with database.changes(NODE) as signal:
        for revision in range(1, 20):
            write(other)
            assert is_set(signal, seconds=SECONDS)
            signal.clear()
            with database.read() as connection:
                assert connection.scalar(text("SELECT revision FROM fleets")) == revision
    other.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_writes_of_other_fleets_set_no_signal(database: Database, other: Database) -> None:
    with database.changes(NODE) as signal:
        write(other, "other-node")
        write(other)
        assert is_set(signal, seconds=SECONDS)
        signal.clear()
        write(other, "other-node")
        assert not is_set(signal)
    other.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_lost_connection_ends_the_wait(database: Database, other: Database) -> None:
    def wait() -> None:
        with database.changes(NODE) as signal:
            with other.write() as connection:
                connection.execute(text(TERMINATE))
            while is_set(signal, seconds=SECONDS):  # the server says so, then closes the connection
                signal.clear()

    with pytest.raises(DatabaseUnavailable):
        wait()
    write(database)
    other.dispose()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_without_inotify_there_is_no_descriptor(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have 128 instances of inotify, and other operating systems have none."""
    monkeypatch.setattr("app.db.changes.ctypes.CDLL", lambda *_, **__: None)
    with database.changes(NODE) as signal:
        assert signal.fd is None
        signal.clear()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_waiting_readers_leave_connections_to_all_threads(app: Flask) -> None:
    services = services_of(app)
    database, settings = services.database, services.settings
    with ExitStack() as stack:
        for _ in range(settings.held_requests):
            stack.enter_context(database.changes(NODE))
        for _ in range(settings.threads + HEALTH_THREADS):
            stack.enter_context(database.read())
