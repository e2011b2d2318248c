"""The kit finds each fault, and finds none where there is none."""

from collections.abc import Iterator

import pytest

from conformance import provider
from conformance.check import Check, Level
from conformance.checks import ALL
from conformance.provider import Target
from conformance.run import Outcome, attempt
from tests.conformance.faults import FAULTS
from tests.conformance.faulty import without_extensions
from tests.conformance.stub import Stub, serving

CHECKS = {check.name: check for check in ALL}


@pytest.fixture(scope="module")
def stub() -> Iterator[Target]:
    """A provider without a fault."""
    with serving(Stub()) as target:
        yield target


@pytest.mark.parametrize("name", CHECKS)
def test_a_provider_without_a_fault_passes(stub: Target, name: str) -> None:
    result = attempt(CHECKS[name], stub)

    assert (result.outcome, result.problem) == (Outcome.PASSED, "")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_check_and_no_pod_is_left(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "PATIENCE_SECONDS", 1)  # what never comes is waited for
    problem, answer = FAULTS[name]
    stub = Stub()
    with serving(stub, answer) as target:
        result = attempt(CHECKS[name], target)

    assert result.outcome is Outcome.FAILED
    assert problem in result.problem
    assert result.answer is not None
    assert result.answer.request is not None
    assert stub.pods == {}


@pytest.mark.parametrize("check", [check for check in ALL if check.level is Level.EXTENSION], ids=lambda c: c.name)
def test_an_older_provider_does_not_fail_for_want_of_an_extension(check: Check) -> None:
    with serving(Stub(), without_extensions) as target:
        outcome = attempt(check, target).outcome

    assert outcome is (Outcome.PASSED if check.name.startswith("access.") else Outcome.NOT_OFFERED)


def test_every_check_has_been_seen_failing() -> None:
    assert set(FAULTS) == set(CHECKS)


def test_every_check_says_what_the_rule_is_and_why_it_matters() -> None:
    assert len(CHECKS) == len(ALL)
    for check in ALL:
        assert check.rule.endswith("."), check.name
        assert check.why.endswith("."), check.name
