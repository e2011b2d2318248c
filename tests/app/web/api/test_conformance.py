"""The provider under gunicorn passes every check of the conformance kit."""

from collections.abc import Iterator

import pytest

from conformance.check import Check
from conformance.checks import ALL
from conformance.client import Target
from conformance.run import Outcome, attempt
from tests.app.web.conftest import TOKEN, Share
from tests.postgres import PostgresServer

WITHOUT_A_TOKEN = {"access.token-is-required", "access.unauthorized-response-has-www-authenticate"}
WITHOUT_A_MACHINE = "usage.usage-of-the-machine-has-times-and-numbers"


NODES = '{"*": {"labels": {"zone": "a"}}}'


@pytest.fixture(scope="module")
def on_sqlite(share: Share) -> Iterator[Target]:
    """Provider whose nodes differ."""
    with share(NODE_OVERRIDES=NODES) as server:
        yield Target("127.0.0.1", server.port)


@pytest.fixture(scope="module")
def on_postgresql_with_a_token(share: Share, postgres: PostgresServer) -> Iterator[Target]:
    """Provider on PostgreSQL that requires a token."""
    postgres.execute("CREATE DATABASE conformance TEMPLATE template")
    url = postgres.url("conformance")
    with share(DATABASE_URL=url, PROVIDER_TOKEN=TOKEN, HOST="127.0.0.1", NODE_OVERRIDES=NODES) as server:
        yield Target("127.0.0.1", server.port, token=TOKEN)


@pytest.fixture(params=["on_sqlite", "on_postgresql_with_a_token"])
def target(request: pytest.FixtureRequest) -> Target:
    """Provider in each of the two configurations."""
    target: Target = request.getfixturevalue(request.param)
    return target


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.name)
def test_provider_passes_the_check(target: Target, check: Check) -> None:
    result = attempt(check, target)

    skipped = {WITHOUT_A_MACHINE} | (set() if target.token else WITHOUT_A_TOKEN)
    expected = Outcome.NOT_OFFERED if check.name in skipped else Outcome.PASSED
    assert (result.outcome, result.problem if expected is Outcome.PASSED else "") == (expected, "")
