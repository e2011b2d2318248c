"""Every check passes against a correct provider and fails against the fault that it is for."""

from collections.abc import Iterator

import pytest

from conformance import client
from conformance.check import Check, Level
from conformance.checks import ALL
from conformance.client import Target
from conformance.run import Outcome, attempt
from tests.conformance.faults import FAULTS
from tests.conformance.faulty import (
    Faulty,
    starting_when_read,
    without_extensions,
    without_extensions_and_second_containers,
)
from tests.stub_provider.serving import complete_provider, serving

CHECKS = {check.name: check for check in ALL}


@pytest.fixture(scope="module")
def stub() -> Iterator[Target]:
    """Provider without a fault."""
    with serving(complete_provider()) as target:
        yield target


@pytest.mark.parametrize("name", CHECKS)
def test_correct_provider_passes(stub: Target, name: str) -> None:
    result = attempt(CHECKS[name], stub)

    assert (result.outcome, result.problem) == (Outcome.PASSED, "")


@pytest.mark.parametrize("name", FAULTS)
def test_fault_fails_its_check_and_leaves_no_pods(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 1)  # the time limit of waiting checks
    problem, answer = FAULTS[name]
    stub = complete_provider()
    with serving(stub, answer) as target:
        result = attempt(CHECKS[name], target)

    assert result.outcome is Outcome.FAILED
    assert problem in result.problem
    assert result.answer is not None
    assert result.answer.request is not None
    assert stub.pods == {}


@pytest.mark.parametrize("answer", [without_extensions, without_extensions_and_second_containers])
@pytest.mark.parametrize("check", [check for check in ALL if check.level is Level.EXTENSION], ids=lambda c: c.name)
def test_missing_extension_is_not_a_failure(check: Check, answer: Faulty) -> None:
    with serving(complete_provider(), answer) as target:
        outcome = attempt(check, target).outcome

    assert outcome is (Outcome.PASSED if check.name.startswith("access.") else Outcome.NOT_OFFERED)


def test_a_pod_may_start_late() -> None:
    with serving(complete_provider(), starting_when_read()) as target:
        result = attempt(CHECKS["changes.since-returns-only-later-changes"], target)

    assert (result.outcome, result.problem) == (Outcome.PASSED, "")


def test_every_check_has_a_fault() -> None:
    assert set(FAULTS) == set(CHECKS)


def test_every_check_states_rule_and_reason() -> None:
    assert len(CHECKS) == len(ALL)
    for check in ALL:
        assert check.rule.endswith("."), check.name
        assert check.why.endswith("."), check.name
