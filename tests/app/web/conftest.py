"""Providers shared by many tests, raw connections to them, and access to the tables."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Table, inspect
from sqlalchemy import select as sql_select

from app.db.engine import Database
from app.db.models import AuditEvent, Base, Fleet, Pod, PodStatus
from conformance.wire import Connection
from tests.postgres import free_port
from tests.server import Client, Server, serving

on_sqlite_alone = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
"""Marks tests that do not depend on the database."""

TOKEN = "a-token-of-the-tests"
ORIGIN = "http://ui.example:8080"

Connect = Callable[..., Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that opens a raw connection, which is closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda port, **more: stack.enter_context(Connection(port, **more))


Share = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def share(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Share:
    """Return a function that runs a provider for many tests, each with pods of its own."""

    def run(**settings: str) -> AbstractContextManager[Server]:
        directory = tmp_path_factory.mktemp("shared")
        shutil.copy(sqlite_template, directory / "provider.db")
        url = f"sqlite:///{directory}/provider.db"
        return serving(free_port(), {"DATABASE_URL": url, **settings}, directory / "server.log")

    return run


@pytest.fixture(scope="session")
def provider(share: Share) -> Iterator[Server]:
    """Yield a provider with the default settings."""
    with share() as server:
        yield server


@pytest.fixture(scope="session")
def health_port() -> int:
    """Return the health port of the provider with a token."""
    return free_port()


@pytest.fixture(scope="session")
def guarded(share: Share, health_port: int) -> Iterator[Server]:
    """Yield a provider with a token, an allowed origin and a health port."""
    with share(
        PROVIDER_TOKEN=TOKEN, HOST="127.0.0.1", CORS_ORIGINS=ORIGIN, HEALTH_PORT=str(health_port)
    ) as server:
        yield server


@pytest.fixture
def http(provider: Server) -> Iterator[Client]:
    """Yield a client of the provider with the default settings."""
    with closing(provider.client()) as client:
        yield client


@pytest.fixture
def wire(provider: Server, connect: Connect) -> Connection:
    """Yield a raw connection to the provider with the default settings."""
    return connect(provider.port)


def log_lines(server: Server) -> list[dict[str, Any]]:
    """Return the complete lines of the log; the last one may still be written."""
    whole, _, _ = server.log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.split("\n")]


Tables = dict[str, list[dict[str, Any]]]


def rows(database: Database, model: type[Base]) -> list[dict[str, Any]]:
    """Return the rows of a table in the order of its key."""
    table = inspect(model).local_table
    assert isinstance(table, Table)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(sql_select(table).order_by(*table.primary_key)).mappings()]


def tables(database: Database) -> Tables:
    """Return the rows of all tables."""
    return {model.__tablename__: rows(database, model) for model in (Fleet, Pod, PodStatus, AuditEvent)}


def put_on(client: FlaskClient, pod: dict[str, Any]) -> dict[str, Any]:
    """Create a pod; the response must be 200."""
    answer = client.post("/createPod", json=pod)
    assert answer.status_code == 200, answer.text
    return pod


def change(client: FlaskClient, pod: dict[str, Any]) -> None:
    """Update a pod; the response must be 200."""
    answer = client.put("/updatePod", json=pod)
    assert answer.status_code == 200, answer.text


def named(pod: dict[str, Any]) -> dict[str, str]:
    """Return the query string for a pod."""
    return {"namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"]}
