"""Real processes pass the checks of writes, HTTP and streams; a deleted pod is listed until they have ended."""

from collections.abc import Iterator

import pytest

from conformance.check import Check
from conformance.checks import ALL
from conformance.client import Target
from conformance.run import Outcome, attempt
from tests.app.web.conftest import Share, share

__all__ = ["share"]  # a fixture

GROUPS = ("http.", "streams.", "volumes.", "writes.")


@pytest.fixture(scope="module")
def target(share: Share, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = str(tmp_path_factory.mktemp("runtime"))
    with share(RUNTIME="app.runtimes.process:ProcessRuntime", RUNTIME_DIRECTORY=directory) as server:
        yield Target("127.0.0.1", server.port)


@pytest.mark.parametrize("check", [check for check in ALL if check.name.startswith(GROUPS)], ids=lambda c: c.name)
def test_processes_pass_the_check(target: Target, check: Check) -> None:
    result = attempt(check, target)

    assert (result.outcome, result.problem) == (Outcome.PASSED, "")
