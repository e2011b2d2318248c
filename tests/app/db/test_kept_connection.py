"""The connections to SQLite that are kept: one of each thread for its reads, and one for all writes."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Event

import pytest
from sqlalchemy import Connection, make_url, select

from app.core.errors import DatabaseUnavailable
from app.db.engine import Database
from app.db.fleets import add_fleet
from app.db.models import Fleet
from app.db.revision import head

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def fleets(connection: Connection) -> list[str]:
    return list(connection.scalars(select(Fleet.name)))


def test_a_thread_reads_on_one_connection(database: Database) -> None:
    with database.read() as first:
        pass
    with database.read() as second:
        pass
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: database.read().__enter__()).result()
    assert first is second
    assert other is not first


def test_all_threads_write_on_one_connection(database: Database) -> None:
    def write() -> Connection:
        with database.write() as connection:
            return connection

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(write).result() is write()


def test_a_write_that_fails_closes_its_connection(database: Database) -> None:
    with suppress(ZeroDivisionError), database.write() as failed:
        add_fleet(failed, "lost")
        raise ZeroDivisionError
    assert failed.closed
    with database.write() as connection:
        assert fleets(connection) == []


def test_every_read_sees_the_latest_commit(database: Database) -> None:
    for number in range(3):
        with database.write() as connection:
            add_fleet(connection, f"node-{number}")
        with database.read() as connection:
            assert len(fleets(connection)) == number + 1


def test_a_read_within_a_read_has_its_own_connection(database: Database) -> None:
    with database.read() as outer:
        with database.read() as inner:
            assert inner is not outer
        assert fleets(outer) == []


def test_a_read_that_fails_closes_its_connection(database: Database) -> None:
    with suppress(ZeroDivisionError), database.read() as failed:
        raise ZeroDivisionError
    assert failed.closed
    with database.read() as connection:
        assert fleets(connection) == []


def test_a_replaced_file_is_opened_again(database: Database, database_url: str, tmp_path: Path) -> None:
    path = Path(make_url(database_url).database or "")
    shutil.copy(path, tmp_path / "backup.db")
    backup = Database(make_url(f"sqlite:///{tmp_path}/backup.db"), head=head())
    with backup.write() as connection:
        add_fleet(connection, "restored")
    backup.dispose()  # which completes the file
    with database.read() as connection:
        assert fleets(connection) == []

    for file in path.parent.glob(f"{path.name}-*"):
        file.unlink()
    (tmp_path / "backup.db").replace(path)
    with database.read() as connection:
        assert fleets(connection) == ["restored"]


def test_threads_that_keep_reading_leave_connections_to_others(database: Database) -> None:
    """Each session of an attach reads in a thread of its own, for hours."""
    threads = 25  # more than the pool has connections
    have_read = Barrier(threads + 1, timeout=20)
    are_done = Event()

    def read() -> None:
        with suppress(DatabaseUnavailable), database.read() as connection:
            fleets(connection)
        have_read.wait()
        are_done.wait(20)

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(read)
        have_read.wait()
        try:
            with database.write() as connection:
                add_fleet(connection, "node")
        finally:
            are_done.set()
    with database.read() as first:
        pass
    with database.read() as second:
        assert second is first, "the threads that have ended keep nothing"
