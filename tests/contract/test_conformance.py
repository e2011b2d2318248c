"""The provider under gunicorn passes every check of the conformance kit."""

from collections.abc import Iterator

import pytest

from conformance.check import Check
from conformance.checks import ALL
from conformance.provider import Target
from conformance.run import Outcome, attempt
from tests.contract.conftest import TOKEN, Share
from tests.server import Server

NOT_OFFERED = {"logs.follow-goes-on-until-the-pod-is-gone"}
"""A synthetic container has written all that it will: there is nothing to follow."""
WITHOUT_A_TOKEN = {"access.the-token-is-needed", "access.the-token-is-asked-for-as-http-does"}


@pytest.fixture(scope="module", params=["on SQLite", "on PostgreSQL, with a token"])
def target(request: pytest.FixtureRequest, share: Share) -> Iterator[Target]:
    """The provider, in two of the ways in which it is run."""
    if request.param == "on SQLite":
        provider: Server = request.getfixturevalue("provider")
        yield Target("127.0.0.1", provider.port)
        return
    postgres = request.getfixturevalue("postgres")
    postgres.execute("CREATE DATABASE conformance TEMPLATE template")
    with share(DATABASE_URL=postgres.url("conformance"), PROVIDER_TOKEN=TOKEN, HOST="127.0.0.1") as server:
        yield Target("127.0.0.1", server.port, token=TOKEN)


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.name)
def test_the_provider_passes(target: Target, check: Check) -> None:
    result = attempt(check, target)

    left_out = NOT_OFFERED if target.token else NOT_OFFERED | WITHOUT_A_TOKEN
    expected = Outcome.NOT_OFFERED if check.name in left_out else Outcome.PASSED
    assert (result.outcome, result.problem if expected is Outcome.PASSED else "") == (expected, "")
