"""Checks, and the assertions they use."""

import inspect
import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from conformance.client import ProviderClient
from conformance.wire import Answer

T = TypeVar("T")


class Level(StrEnum):
    """Importance of a check.

    Attributes:
        REQUIRED: if it fails, the original broker, or Kubernetes behind it, misbehaves.
        RECOMMENDED: if it fails, pods still run; people and other clients are affected.
        EXTENSION: a feature beyond the contract, which a provider may lack.
    """

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    EXTENSION = "extension"


class Failed(Exception):
    """The provider violates the rule of the check.

    Attributes:
        answer: the response that shows the problem; None for the last response.
    """

    def __init__(self, problem: str, answer: Answer | None = None) -> None:
        super().__init__(problem)
        self.answer = answer


class NotOffered(Exception):
    """The provider lacks the optional feature that the check is about."""


class Check(NamedTuple):
    """A check.

    Attributes:
        name: group and name, such as `reads.unknown-pod-returns-404-not-found`.
        level: importance of the check.
        rule: the rule of the contract.
        why: the consequence of a violation.
        function: runs the check; raises :class:`Failed` or :class:`NotOffered`.
    """

    name: str
    level: Level
    rule: str
    why: str
    function: Callable[[ProviderClient], None]


def required(function: Callable[[ProviderClient], None]) -> Check:
    """Return a required check; the docstring's first paragraph is the rule, the rest is the reason."""
    return _check(function, Level.REQUIRED)


def recommended(function: Callable[[ProviderClient], None]) -> Check:
    """Return a recommended check."""
    return _check(function, Level.RECOMMENDED)


def extension(function: Callable[[ProviderClient], None]) -> Check:
    """Return a check of an extension."""
    return _check(function, Level.EXTENSION)


def _check(function: Callable[[ProviderClient], None], level: Level) -> Check:
    group = function.__module__.rpartition(".")[2]
    rule, _, why = (inspect.getdoc(function) or "").partition("\n\n")
    name = f"{group}.{function.__name__.replace('_', '-')}"
    return Check(name, level, " ".join(rule.split()), " ".join(why.split()), function)


def expect(holds: object, problem: str, answer: Answer | None = None) -> None:
    """Raise if a condition does not hold.

    Args:
        holds: the condition; its truth value counts.
        problem: description of the failure.
        answer: the response that shows the problem; the last response if None.

    Raises:
        Failed: the condition does not hold.
    """
    if not holds:
        raise Failed(problem, answer)


def success(answer: Answer) -> Answer:
    """Require a status of 2xx; return the response."""
    expect(answer.is_success, f"{_endpoint(answer)} returns {answer.status}", answer)
    return answer


def code(answer: Answer, *codes: int) -> Answer:
    """Require one of these status codes; return the response."""
    wanted = " or ".join(map(str, codes))
    expect(answer.code in codes, f"{_endpoint(answer)} returns {answer.status}, not {wanted}", answer)
    return answer


def document(answer: Answer, type_: type[T]) -> T:
    """Require a status of 2xx and a JSON body of a type; return the decoded body."""
    return parsed(success(answer), type_)


def parsed(answer: Answer, type_: type[T]) -> T:
    """Require a JSON body of a type; return the decoded body."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        raise Failed(f"the body of {_endpoint(answer)} is not JSON", answer) from None
    return _typed(found, type_, f"the body of {_endpoint(answer)}", answer)


def at(value: Any, path: str, type_: type[T], answer: Answer | None = None) -> T:
    """Require a member of a JSON object at a path such as `metadata.uid`, of a type; return its value."""
    for name in path.split("."):
        expect(isinstance(value, dict) and name in value, f"{path} is missing", answer)
        value = value[name]
    return _typed(value, type_, path, answer)


_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}


def _typed(value: Any, type_: type[T], subject: str, answer: Answer | None) -> T:
    is_right = isinstance(value, type_) and (type_ is bool or not isinstance(value, bool))
    expect(is_right, f"{subject} is {_kind(value)}, not {_NAMES.get(type_, type_.__name__)}", answer)
    found: T = value
    return found


def _kind(value: object) -> str:
    return "null" if value is None else _NAMES.get(type(value), "a number")


def _endpoint(answer: Answer) -> str:
    return (
        f"{answer.request.method} {answer.request.target.partition('?')[0]}" if answer.request else "the provider"
    )
