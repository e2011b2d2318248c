"""Run checks against a provider."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from conformance.check import Check, Failed, Level, NotOffered
from conformance.client import ProviderClient, Target
from conformance.wire import Answer, WireError


class Outcome(StrEnum):
    """Outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"


class Result(NamedTuple):
    """Result of a check.

    Attributes:
        problem: reason of a failure, or the extension that is not offered; empty if the check passed.
        answer: the response, with its request, that shows the problem; None if the check passed.
    """

    check: Check
    outcome: Outcome
    problem: str = ""
    answer: Answer | None = None


def run(checks: Iterable[Check], target: Target) -> Iterator[Result]:
    """Run checks one after the other; yield their results."""
    for check in checks:
        yield attempt(check, target)


def attempt(check: Check, target: Target) -> Result:
    """Run one check; delete its pods afterwards, whatever the outcome."""
    provider = ProviderClient(target)
    try:
        check.function(provider)
    except NotOffered as exc:
        return Result(check, Outcome.NOT_OFFERED, str(exc), provider.last)
    except Failed as exc:
        return Result(check, Outcome.FAILED, str(exc), exc.answer or provider.last)
    except TimeoutError:
        return Result(check, Outcome.FAILED, "no response within the time limit", provider.last)
    except (OSError, WireError) as exc:
        return Result(check, Outcome.FAILED, f"no response: {exc}", provider.last)
    finally:
        provider.clean_up()
    return Result(check, Outcome.PASSED)


def conforms(results: Iterable[Result]) -> bool:
    """Return whether no required check and no check of an extension failed."""
    return not any(r.outcome is Outcome.FAILED and r.check.level is not Level.RECOMMENDED for r in results)
