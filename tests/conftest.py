"""What every test has at hand. A test that takes `database_url` runs on SQLite and on PostgreSQL."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import make_url

from app import create_app
from app.core.settings import Settings
from app.db.engine import Database
from app.db.migrate import head, upgrade
from tests.postgres import PostgresServer, find_binaries, free_port
from tests.server import Server, serving

# A shell that starts the tests in the background has SIGINT ignored, which every child process would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = count()


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the time, forth or back."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server, and in it a migrated database `template` to copy."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: in CI nothing is skipped")
        pytest.skip("PostgreSQL (initdb, postgres) is not installed")
    server = PostgresServer(binaries)
    try:
        server.start()
        server.execute("CREATE DATABASE template")
        upgrade(make_url(server.url("template")))
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "provider.db"
    upgrade(make_url(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """On which database a test runs: on each in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def empty_database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables; for SQLite, without a file."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/data/provider.db"
    else:
        yield from _postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of this test's own."""
    if database_kind == "sqlite":
        (tmp_path / "data").mkdir(mode=0o700)
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "data" / "provider.db")
        yield f"sqlite:///{tmp_path}/data/provider.db"
    else:
        yield from _postgres_database(request.getfixturevalue("postgres"), template="template")


def _postgres_database(server: PostgresServer, *, template: str = "template0") -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The database of the test, to look into beside the application."""
    database = Database(make_url(database_url), head=head())
    yield database
    database.dispose()


MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(database_url: str, clock: Clock) -> Iterator[MakeApp]:
    """Make an application on the test's database and clock, with more settings where given."""
    made: list[Flask] = []

    def make(**settings: object) -> Flask:
        app = create_app(Settings.model_validate({"database_url": database_url, **settings}), clock=clock)
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["services"].database.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An application with the default settings."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application, without a socket between."""
    return app.test_client()


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Serve:
    """A function that runs the provider under gunicorn on the test's database, for a `with`."""

    def run(**settings: str) -> AbstractContextManager[Server]:
        port = int(settings.pop("PORT", "") or free_port())
        return serving(port, {"DATABASE_URL": database_url, **settings}, tmp_path / "server.log")

    return run


@pytest.fixture
def server(serve: Serve) -> Iterator[Server]:
    """The provider under gunicorn, with the default settings."""
    with serve() as server:
        yield server
