"""A wrong DATABASE_URL is named by its reason, without user, password and address."""

import pytest
from sqlalchemy import make_url

from app.core.errors import ProviderError
from app.db.migrate import upgrade
from tests.postgres import PostgresServer, free_port


@pytest.fixture
def address(postgres: PostgresServer) -> str:
    return f"127.0.0.1:{postgres.port}"


def problem_of(location: str) -> str:
    with pytest.raises(ProviderError) as raised:
        upgrade(make_url(f"postgresql://postgres:secret@{location}"))
    return str(raised.value)


def test_the_reason_of_the_server_is_kept(address: str) -> None:
    found = problem_of(f"{address}/nothing")
    assert found == 'the database does not answer: database "nothing" does not exist'


def test_a_server_without_tls_is_named(address: str) -> None:
    found = problem_of(f"{address}/postgres?sslmode=require")
    assert found == "the database does not answer: server does not support SSL, but SSL was required"


def test_an_unknown_parameter_is_named(address: str) -> None:
    found = problem_of(f"{address}/postgres?sslmod=require")
    assert found.endswith('ProgrammingError: invalid connection option "sslmod"')


def test_a_port_without_a_server_is_refused() -> None:
    found = problem_of(f"127.0.0.1:{free_port()}/postgres")
    assert found == "the database does not answer: Connection refused"


def test_an_unknown_host_is_named() -> None:
    found = problem_of("host.invalid/postgres")
    assert found.startswith("the database does not answer: failed to resolve host 'host.invalid'")
