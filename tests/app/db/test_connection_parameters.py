"""Connections to PostgreSQL: limits for a machine that is gone, and the parameters of DATABASE_URL."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import Connection
from sqlalchemy import make_url

from app.db.engine import Database

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@contextmanager
def connection(url: str) -> Iterator[Connection]:
    database = Database(make_url(url), head=None)
    with database.read() as found:
        driver = found.connection.driver_connection
        assert isinstance(driver, Connection)
        yield driver
    database.dispose()


def show(driver: Connection, name: str) -> str:
    found = driver.execute(f"SHOW {name}".encode()).fetchone()
    assert found
    return str(found[0])


def test_a_machine_that_is_gone_is_noticed(database_url: str) -> None:
    with connection(database_url) as driver, socket.socket(fileno=os.dup(driver.fileno())) as tcp:
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15


def test_parameters_of_the_url_have_precedence(database_url: str) -> None:
    parameters = "application_name=edge&keepalives_idle=3&options=-csearch_path%3Dother%20-clock_timeout%3D2s"
    with connection(f"{database_url}?{parameters}") as driver:
        names = ("application_name", "search_path", "lock_timeout", "TimeZone")
        assert [show(driver, name) for name in names] == ["edge", "other", "2s", "UTC"]
        assert driver.info.get_parameters()["keepalives_idle"] == "3"
