"""Parse label selectors, as `kubectl -l` accepts them.

The grammar is that of `labels.Parse` of apimachinery: requirements separated by commas, all of which must match.
A requirement is `KEY`, `!KEY`, `KEY = VALUE` (also `==`), `KEY != VALUE`, `KEY in (VALUES)`, `KEY notin (VALUES)`,
`KEY > NUMBER` or `KEY < NUMBER`. A value may be empty, and a pod without the label satisfies `!=` and `notin`.
"""

import re
from typing import Literal

import msgspec

Operator = Literal["exists", "does not exist", "in", "not in", "greater than", "less than"]

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_SYMBOLS = frozenset(["==", "!=", "=", "!", "(", ")", ",", "<", ">"])
_OPERATORS: dict[str, Operator] = {
    "=": "in",
    "==": "in",
    "!=": "not in",
    "in": "in",
    "notin": "not in",
    ">": "greater than",
    "<": "less than",
}
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_SUBDOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_KEY = re.compile(rf"((?P<prefix>{_SUBDOMAIN})/)?{_NAME}")
_VALUE = re.compile(f"({_NAME})?")
_MAX_PREFIX = 253
_INTEGER = re.compile(r"[0-9]{1,18}")


class Requirement(msgspec.Struct, frozen=True):
    """A condition on one label.

    Attributes:
        values: the values of `in` and `not in`, or the number of `greater than` and `less than`; else empty.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


LabelSelector = tuple[Requirement, ...]
"""Requirements, all of which must match; an empty selector matches everything."""


def parse_label_selector(text: str) -> LabelSelector:
    """Parse a label selector.

    >>> parse_label_selector("app in (web, db), !canary")[1]
    Requirement(key='canary', operator='does not exist', values=())

    Raises:
        ValueError: the text is no label selector.
    """
    tokens = _Tokens(text)
    if tokens.next is None:
        return ()
    requirements = [_requirement(tokens)]
    while tokens.next is not None:
        tokens.expect(",")
        requirements.append(_requirement(tokens))
    return tuple(requirements)


class _Tokens:
    """The tokens of a selector.

    Attributes:
        next: the next token; None at the end.
    """

    def __init__(self, text: str) -> None:
        self._tokens = iter(_TOKEN.findall(text))
        self.next: str | None = next(self._tokens, None)

    def take(self) -> str | None:
        """Return the next token, and go on to the one after it."""
        token, self.next = self.next, next(self._tokens, None)
        return token

    def accept(self, symbol: str) -> bool:
        """Take the next token if it is this one."""
        return self.next == symbol and self.take() is not None

    def expect(self, symbol: str) -> None:
        """Take the next token, which must be this one."""
        if not self.accept(symbol):
            raise ValueError(f'found "{self.next or "the end"}", expected "{symbol}"')

    def word(self) -> str:
        """Take a key or a value; empty where there is none."""
        return (self.take() or "") if self.next is not None and self.next not in _SYMBOLS else ""


def _requirement(tokens: _Tokens) -> Requirement:
    is_negated = tokens.accept("!")
    key = _checked_key(tokens)
    if is_negated:
        return Requirement(key, "does not exist")
    if tokens.next is None or tokens.next == ",":
        return Requirement(key, "exists")
    symbol = tokens.take() or ""
    operator = _OPERATORS.get(symbol)
    if operator is None:
        raise ValueError(f'found "{symbol}", expected one of {", ".join(_OPERATORS)}')
    values = _values(tokens) if symbol in ("in", "notin") else (tokens.word(),)
    for value in values:
        if not _VALUE.fullmatch(value):
            raise ValueError(f'"{value}" is no label value: letters, digits, "-", "_" and ".", at most 63')
        if operator in ("greater than", "less than") and not _INTEGER.fullmatch(value):
            raise ValueError(f'"{value}" is not a number')
    return Requirement(key, operator, values)


def _checked_key(tokens: _Tokens) -> str:
    if tokens.next is None or tokens.next in _SYMBOLS:
        raise ValueError(f'found "{tokens.next or "the end"}", expected the key of a label')
    key = tokens.word()
    match = _KEY.fullmatch(key)
    if match is None or len(match["prefix"] or "") > _MAX_PREFIX:
        raise ValueError(f'"{key}" is no label key such as app or example.com/app')
    return key


def _values(tokens: _Tokens) -> tuple[str, ...]:
    """Parse `(a, b)`, in which values may be empty."""
    tokens.expect("(")
    values = [tokens.word()]
    while tokens.accept(","):
        values.append(tokens.word())
    tokens.expect(")")
    return tuple(dict.fromkeys(values))
