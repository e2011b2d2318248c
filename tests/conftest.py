"""Fixtures of all tests. A test with the fixture `database_url` runs on SQLite and on PostgreSQL."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import make_url

from app import create_app
from app.core.settings import Settings
from app.db.engine import Database
from app.db.migrate import upgrade
from app.db.revision import head
from app.services import Services
from tests.postgres import PostgresServer, find_binaries, free_port
from tests.server import Server, serving

# A shell that starts the tests in the background has SIGINT ignored, which every child process would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The plugin looptime reads the current event loop before an asynchronous test.
# At the first such read, asyncio would create one that nobody closes: its ResourceWarning would fail a later test.
asyncio.set_event_loop(None)

# No property test depends on the speed of the machine.
settings.register_profile("unhurried", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("unhurried")

_numbers = count()


class CompiledTemplates(BytecodeCache):
    """The dashboard's templates, compiled once for all applications of a test run."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Set the code of a template, if it has been compiled from the same source."""
        if code := self._code.get(bucket.key):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self._code[bucket.key] = bucket.bytecode_to_string()


_templates = CompiledTemplates()


class Clock:
    """A clock that a test sets; its time does not change otherwise."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Change the time by a number of seconds, which may be negative."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Yield a server with a migrated database `template` to copy."""
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
    """Return a migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "provider.db"
    upgrade(make_url(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Return the database of the test: each one in a run of its own."""
    kind: str = request.param
    return kind


@pytest.fixture
def empty_database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database without tables; for SQLite, without a file."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/data/provider.db"
    else:
        yield from _postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a migrated database."""
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
    """Yield the database of the test, beside that of the application."""
    database = Database(make_url(database_url), head=head())
    yield database
    database.dispose()


MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(database_url: str, clock: Clock) -> Iterator[MakeApp]:
    """Yield a function that creates an application with settings, by default on the test's database and clock."""
    with ExitStack() as stack:
        yield lambda *, clock=clock, **settings: _create_app(stack, database_url, clock, settings)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """Return an application with the default settings."""
    return make_app()


def services_of(app: Flask) -> Services:
    """Return the services of an application."""
    found: Services = app.extensions["services"]
    return found


@pytest.fixture
def services(app: Flask) -> Services:
    """Return the services of the application with the default settings."""
    return services_of(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client of the application, without a socket."""
    return app.test_client()


MakeDatabaseUrl = Callable[[str], str]


@pytest.fixture(scope="module")
def make_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeDatabaseUrl]:
    """Yield a function that returns the URL of a new migrated database, `sqlite` or `postgresql`, for a module."""
    with ExitStack() as stack:

        def url(kind: str) -> str:
            if kind == "sqlite":
                directory = tmp_path_factory.mktemp("shared")
                return f"sqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), directory)}"
            database = contextmanager(_postgres_database)
            return stack.enter_context(database(request.getfixturevalue("postgres"), template="template"))

        yield url


SharedApp = Callable[..., Flask]


@pytest.fixture(scope="module")
def shared_app(make_database_url: MakeDatabaseUrl) -> Iterator[SharedApp]:
    """Yield a function that returns an application for tests that only read, one for each set of arguments.

    It has a database of its own kind, and a clock of its own. The function `prepare` gets both the application and
    the clock when it is created.
    """
    with ExitStack() as stack:

        @cache
        def share(kind: str, prepare: Callable[[Flask, Clock], object], **settings: object) -> Flask:
            clock = Clock()
            app = _create_app(stack, make_database_url(kind), clock, settings)
            prepare(app, clock)
            return app

        yield share


def _create_app(
    stack: ExitStack, url: str, clock: Callable[[], datetime], settings: Mapping[str, object]
) -> Flask:
    app = create_app(Settings.model_validate({"database_url": url, **settings}), clock=clock)
    app.jinja_env.bytecode_cache = _templates
    stack.callback(services_of(app).database.dispose)
    return app


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Serve:
    """Return a function that runs the provider under gunicorn on the test's database."""

    def run(**settings: str) -> AbstractContextManager[Server]:
        port = int(settings.pop("PORT", "") or free_port())
        return serving(port, {"DATABASE_URL": database_url, **settings}, tmp_path / "server.log")

    return run


@pytest.fixture
def server(serve: Serve) -> Iterator[Server]:
    """Yield the provider under gunicorn, with the default settings."""
    with serve() as server:
        yield server
