"""The call before a write, by which a thread that has more to do passes that on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
from sqlalchemy import select

from app.db.engine import Database
from app.db.fleets import add_fleet
from app.db.models import Fleet


def test_a_thread_is_told_before_it_waits_for_another_write(database: Database) -> None:
    called = SimpleQueue[int]()
    database.before_write = lambda: called.put(threading.get_ident())

    def write() -> int:
        with database.write() as connection:
            connection.execute(select(Fleet.name))
        return threading.get_ident()

    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            add_fleet(connection, "node")
            assert called.get(timeout=10) == threading.get_ident()
            second = pool.submit(write)
            caller = called.get(timeout=10)
        assert second.result(timeout=10) == caller


def test_a_read_is_no_write(database: Database) -> None:
    database.before_write = lambda: pytest.fail("a read must not pass anything on")
    with database.read() as connection:
        connection.execute(select(Fleet.name))
