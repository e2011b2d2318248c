"""What a check is, and what it says with."""

import inspect
import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from conformance.provider import Provider
from conformance.wire import Answer

T = TypeVar("T")


class Level(StrEnum):
    """How much it matters.

    Attributes:
        REQUIRED: without it the original broker, or Kubernetes behind it, does the wrong thing.
        RECOMMENDED: pods run without it; people and other clients are worse off.
        EXTENSION: more than the contract; a provider may be without it.
    """

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    EXTENSION = "extension"


class Failed(Exception):
    """The provider does not do what the check asks for.

    Attributes:
        answer: the one to blame; None for the last.
    """

    def __init__(self, problem: str, answer: Answer | None = None) -> None:
        super().__init__(problem)
        self.answer = answer


class NotOffered(Exception):
    """The provider does not have what the check is about, and need not have it."""


class Check(NamedTuple):
    """A check.

    Attributes:
        name: group and name, such as `reads.an-unknown-pod-is-404-not-found`.
        level: how much it matters.
        rule: what the contract says.
        why: what comes of a provider that does otherwise.
        function: tries it; raises :class:`Failed` or :class:`NotOffered`.
    """

    name: str
    level: Level
    rule: str
    why: str
    function: Callable[[Provider], None]


def required(function: Callable[[Provider], None]) -> Check:
    """Make a required check of a function; the first paragraph of its docstring is the rule, the rest says why."""
    return _check(function, Level.REQUIRED)


def recommended(function: Callable[[Provider], None]) -> Check:
    """Make a recommended check of a function."""
    return _check(function, Level.RECOMMENDED)


def extension(function: Callable[[Provider], None]) -> Check:
    """Make a check of an extension of a function."""
    return _check(function, Level.EXTENSION)


def _check(function: Callable[[Provider], None], level: Level) -> Check:
    group = function.__module__.rpartition(".")[2]
    rule, _, why = (inspect.getdoc(function) or "").partition("\n\n")
    name = f"{group}.{function.__name__.replace('_', '-')}"
    return Check(name, level, " ".join(rule.split()), " ".join(why.split()), function)


def expect(holds: object, problem: str, answer: Answer | None = None) -> None:
    """Go on only where something holds.

    Args:
        holds: what must be true.
        problem: what is wrong where it is not.
        answer: the answer to blame; the last one where None.

    Raises:
        Failed: it does not hold.
    """
    if not holds:
        raise Failed(problem, answer)


def success(answer: Answer) -> Answer:
    """Expect a status of 2xx."""
    expect(answer.is_success, f"{_what(answer)} answers {answer.status}", answer)
    return answer


def code(answer: Answer, *codes: int) -> Answer:
    """Expect one of these status codes."""
    wanted = " or ".join(map(str, codes))
    expect(answer.code in codes, f"{_what(answer)} answers {answer.status}, not {wanted}", answer)
    return answer


def document(answer: Answer, type_: type[T]) -> T:
    """Expect a success with JSON of a type, and give it."""
    return parsed(success(answer), type_)


def parsed(answer: Answer, type_: type[T]) -> T:
    """Expect JSON of a type, and give it."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        raise Failed(f"the body of {_what(answer)} is not JSON", answer) from None
    return _typed(found, type_, f"the body of {_what(answer)}", answer)


def at(value: Any, path: str, type_: type[T], answer: Answer | None = None) -> T:
    """Expect a member of a JSON object, found by a path such as `metadata.uid`, and give it."""
    for name in path.split("."):
        expect(isinstance(value, dict) and name in value, f"{path} is missing", answer)
        value = value[name]
    return _typed(value, type_, path, answer)


_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "true or false", int: "a whole number"}


def _typed(value: Any, type_: type[T], what: str, answer: Answer | None) -> T:
    is_right = isinstance(value, type_) and (type_ is bool or not isinstance(value, bool))
    expect(is_right, f"{what} is {_kind(value)}, not {_NAMES.get(type_, type_.__name__)}", answer)
    found: T = value
    return found


def _kind(value: object) -> str:
    return "null" if value is None else _NAMES.get(type(value), "a number")


def _what(answer: Answer) -> str:
    return (
        f"{answer.request.method} {answer.request.target.partition('?')[0]}" if answer.request else "the provider"
    )
