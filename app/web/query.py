"""Query parameters: a pydantic model a view, whose fields are the parameters in snake case.

    class PodQuery(Query):
        namespace: Name
        pod_name: Name             # ?podName=
        tail: int | None = None    # see the types below for numbers, times and booleans

    query = PodQuery.from_request()

The types below accept the spellings of the Kubernetes API, which are narrower than pydantic's own: `1.0` and ` 1`
are no whole number, `yes` is no boolean, and `1700000000` is no time. See docs/decisions/0014-query-parameters.md.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Self

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from app.core.errors import InvalidRequest, NotFound, ProviderError

_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False, "": False}
_NOT_FOUND = "not_found"
_UNESCAPED_PLUS = re.compile(r"(?<=:\d\d) (?=\d\d:\d\d\Z)", re.ASCII)
"""The sign of a zone, as in `08:46:38+02:00`, where a URL was typed: there a `+` is a space."""


class Query(BaseModel):
    """The query parameters of a view. Unknown parameters are ignored; of a repeated one, the first counts."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    @classmethod
    def from_request(cls) -> Self:
        """Parse the query string of this request.

        Raises:
            InvalidRequest: a parameter is missing or invalid; `field` is its name.
            NotFound: a name that no object can have.
        """
        try:
            return cls.model_validate(request.args.to_dict())
        except ValidationError as exc:
            raise _domain_error(exc.errors(include_url=False)[0]) from None


def _domain_error(error: ErrorDetails) -> ProviderError:
    """Convert the first of pydantic's errors."""
    if error["type"] == _NOT_FOUND:
        return NotFound(error["msg"])
    context = error.get("ctx", {})
    message = {
        "missing": "required",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "value_error": str(context.get("error")),
        "literal_error": f"must be one of {_unquoted(str(context.get('expected')))}",
    }.get(error["type"], error["msg"])
    return InvalidRequest(message, field=str(error["loc"][0]))


def _unquoted(choices: str) -> str:
    """Return `a, b, c` for pydantic's `'a', 'b' or 'c'`."""
    return choices.replace(" or ", ", ").replace("'", "")


def _name(value: str) -> str:
    if not value:
        raise ValueError("required")
    if "\0" in value:  # which PostgreSQL refuses in a query
        raise PydanticCustomError(_NOT_FOUND, "no object has a name with a NUL character")
    return value


def _whole_number(value: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,100}", value):
        raise ValueError("must be a whole number")
    return int(value)


def _time(value: str) -> datetime:
    with suppress(ValueError):
        time = datetime.fromisoformat(value)
        if time.tzinfo:
            return time
    raise ValueError("must be a time such as 2026-11-22T08:46:38Z")


def parse_boolean(value: str) -> bool:
    """Parse a boolean, as :data:`Flag`.

    Raises:
        ValueError: the text is none.
    """
    if (found := _BOOLEANS.get(value.lower())) is None:
        raise ValueError("must be true or false")
    return found


def _stripped(value: str) -> str | None:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value.strip() or None


def parse_time_utc(value: str) -> datetime | None:
    """Parse the value of a :data:`TimeUtc`."""
    text = _stripped(value)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(_UNESCAPED_PLUS.sub("+", text))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # of a time in the year 1 that is in the year 0 in UTC
        raise ValueError("must be a time such as 2026-11-22T08:46:38") from None


def _row_id(value: str) -> int | None:
    text = _stripped(value)
    if text is not None and not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError("must be copied from the link to this page")
    return None if text is None else int(text)


Name = Annotated[str, BeforeValidator(_name)]
"""The name of an object: required, not empty."""
Number = Annotated[int, BeforeValidator(_whole_number)]
"""A whole number."""
Count = Annotated[Number, Field(ge=0)]
"""A whole number of at least 0."""
PositiveNumber = Annotated[Number, Field(ge=1)]
"""A whole number of at least 1."""
Time = Annotated[datetime, BeforeValidator(_time)]
"""An RFC 3339 time with a time zone."""
Flag = Annotated[bool, BeforeValidator(parse_boolean)]
"""A boolean as the Kubernetes API spells it, in any case: true, 1, t, false, 0, f, or empty for false."""
Blank = BeforeValidator(_stripped)
"""Strips spaces; an empty field of a form is None."""
Text = Annotated[str | None, Blank]
"""A text without spaces around it; None where it is empty."""
TimeUtc = Annotated[datetime | None, BeforeValidator(parse_time_utc)]
"""An ISO 8601 time: UTC where it has no time zone; None where it is empty."""
RowId = Annotated[int | None, BeforeValidator(_row_id)]
"""The ID of the last row of a page, after which the next page begins."""
