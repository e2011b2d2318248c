"""Providers that many tests share, raw sockets to speak to them, and a look into the tables."""

import json
import select
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Table, inspect
from sqlalchemy import select as sql_select

from app.database import Database
from app.models import AuditEvent, Base, Node, Pod, PodStatus
from tests.postgres import free_port
from tests.server import Client, Server, serving

on_sqlite_alone = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
"""For what is the same whichever database is below."""

TOKEN = "a-token-of-the-tests"
ORIGIN = "http://ui.example:8080"

ENDPOINTS = [
    ("POST", "/createPod"),
    ("PUT", "/updatePod"),
    ("DELETE", "/deletePod"),
    ("GET", "/getPod"),
    ("GET", "/getPodStatus"),
    ("GET", "/getPods"),
    ("GET", "/getContainerLogs"),
    ("GET", "/capacity"),
    ("GET", "/nodeConditions"),
    ("GET", "/nodeAddresses"),
]
"""The contract: verb and path of each endpoint."""

NODE_PATHS = ["/capacity", "/nodeConditions", "/nodeAddresses"]


class RawAnswer(NamedTuple):
    """What came over the socket, as it came."""

    status_line: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status_line.split()[1])

    def header(self, name: str) -> str | None:
        """Give a header, which may be there only once."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} is there {len(found)} times"
        return found[0] if found else None


class RawConnection:
    """A socket, and no more knowledge of HTTP than is needed to find the end of an answer."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=30)
        self._input = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._input.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def request(self, method: str, target: str, body: bytes | None = None, **headers: str) -> RawAnswer:
        """Send a request with these headers and no others but Host and Content-Length; read the answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: provider"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None and "Transfer_Encoding" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return self.receive(has_body=method != "HEAD")

    def receive(self, *, has_body: bool = True) -> RawAnswer:
        status_line = self._line()
        assert status_line, "the server has closed the connection"
        headers = []
        while line := self._line():
            name, _, value = line.partition(": ")
            headers.append((name, value))
        answer = RawAnswer(status_line, headers, b"")
        return answer._replace(body=self._body(answer)) if has_body else answer

    def has_answer(self) -> bool:
        """Whether something of an answer is there, or the end."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def rest(self) -> bytes:
        """Read until the server closes the connection."""
        return self._input.read()

    def _line(self) -> str:
        return self._input.readline().decode("latin-1").removesuffix("\r\n")

    def _body(self, answer: RawAnswer) -> bytes:
        if answer.header("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self._line(), 16):
                chunks.append(self._input.read(size))
                assert self._line() == ""
            assert self._line() == ""
            return b"".join(chunks)
        length = answer.header("Content-Length")
        return self._input.read() if length is None else self._input.read(int(length))


Connect = Callable[..., RawConnection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open a raw connection to a port, closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda port, **more: stack.enter_context(RawConnection(port, **more))


Share = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def share(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Share:
    """A function that runs a provider for many tests, each of which uses pods of its own."""

    def run(**settings: str) -> AbstractContextManager[Server]:
        directory = tmp_path_factory.mktemp("shared")
        shutil.copy(sqlite_template, directory / "provider.db")
        url = f"sqlite:///{directory}/provider.db"
        return serving(free_port(), {"DATABASE_URL": url, **settings}, directory / "server.log")

    return run


@pytest.fixture(scope="session")
def provider(share: Share) -> Iterator[Server]:
    """The provider with the default settings."""
    with share() as server:
        yield server


@pytest.fixture(scope="session")
def health_port() -> int:
    """The port for probes of the guarded provider."""
    return free_port()


@pytest.fixture(scope="session")
def guarded(share: Share, health_port: int) -> Iterator[Server]:
    """The provider with a token, an allowed origin and a port for probes."""
    with share(
        PROVIDER_TOKEN=TOKEN, HOST="127.0.0.1", CORS_ORIGINS=ORIGIN, HEALTH_PORT=str(health_port)
    ) as server:
        yield server


@pytest.fixture
def http(provider: Server) -> Iterator[Client]:
    """A connection to the provider with the default settings."""
    with closing(provider.client()) as client:
        yield client


@pytest.fixture
def wire(provider: Server, connect: Connect) -> RawConnection:
    """A raw connection to the provider with the default settings."""
    return connect(provider.port)


def log_lines(server: Server) -> list[dict[str, Any]]:
    """Read the log as far as its lines are whole: another may be on its way."""
    whole, _, _ = server.log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.split("\n")]


Tables = dict[str, list[dict[str, Any]]]


def rows(database: Database, model: type[Base]) -> list[dict[str, Any]]:
    """Read a table in the order of its key."""
    table: Table = inspect(model).local_table  # type: ignore[assignment]
    with database.read() as connection:
        return [dict(row) for row in connection.execute(sql_select(table).order_by(*table.primary_key)).mappings()]


def tables(database: Database) -> Tables:
    """Read everything that is stored."""
    return {model.__tablename__: rows(database, model) for model in (Node, Pod, PodStatus, AuditEvent)}


def put_on(client: FlaskClient, pod: dict[str, Any]) -> dict[str, Any]:
    """Create a pod, which must be accepted."""
    answer = client.post("/createPod", json=pod)
    assert answer.status_code == 200, answer.text
    return pod


def change(client: FlaskClient, pod: dict[str, Any]) -> None:
    """Update a pod, which must be accepted."""
    answer = client.put("/updatePod", json=pod)
    assert answer.status_code == 200, answer.text


def named(pod: dict[str, Any]) -> dict[str, str]:
    """The query that asks for a pod."""
    return {"namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"]}
