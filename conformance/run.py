"""Trying checks on a provider."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from conformance.check import Check, Failed, Level, NotOffered
from conformance.provider import Provider, Target
from conformance.wire import Answer, WireError


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"


class Result(NamedTuple):
    """A check and what came of it.

    Attributes:
        problem: what is wrong, or what is not offered; empty where it passed.
        answer: the one to blame, with its request; None where it passed.
    """

    check: Check
    outcome: Outcome
    problem: str = ""
    answer: Answer | None = None


def run(checks: Iterable[Check], target: Target) -> Iterator[Result]:
    """Try checks one after the other."""
    for check in checks:
        yield attempt(check, target)


def attempt(check: Check, target: Target) -> Result:
    """Try a check; whatever happens, none of its pods stays."""
    provider = Provider(target)
    try:
        check.function(provider)
    except NotOffered as exc:
        return Result(check, Outcome.NOT_OFFERED, str(exc), provider.last)
    except Failed as exc:
        return Result(check, Outcome.FAILED, str(exc), exc.answer or provider.last)
    except TimeoutError:
        return Result(check, Outcome.FAILED, "no answer came in time", provider.last)
    except (OSError, WireError) as exc:
        return Result(check, Outcome.FAILED, f"no answer: {exc}", provider.last)
    finally:
        provider.leave()
    return Result(check, Outcome.PASSED)


def conforms(results: Iterable[Result]) -> bool:
    """Say whether a broker can use the provider: all that is required is there, and what is offered is right."""
    return not any(r.outcome is Outcome.FAILED and r.check.level is not Level.RECOMMENDED for r in results)
