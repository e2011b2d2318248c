"""Parameters of a query."""

import re
from contextlib import suppress
from datetime import datetime

from flask import request

from app.core.errors import InvalidRequest, NotFound


def required(name: str) -> str:
    """Read a parameter that must be there.

    Raises:
        InvalidRequest: it is missing or empty.
        NotFound: no name can be like that.
    """
    value = request.args.get(name, "")
    if not value:
        raise InvalidRequest("required", field=name)
    if "\0" in value:
        raise NotFound("nothing has a name with a NUL in it")  # and PostgreSQL would not be asked for one
    return value


def optional_number(name: str, *, least: int | None = None) -> int | None:
    """Read a whole number that may be missing.

    Raises:
        InvalidRequest: it is there and is no whole number, or less than `least`.
    """
    value = request.args.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,100}", value):
        raise InvalidRequest("must be a whole number", field=name)
    if least is not None and int(value) < least:
        raise InvalidRequest(f"must be at least {least}", field=name)
    return int(value)


def optional_time(name: str) -> datetime | None:
    """Read a time that may be missing.

    Raises:
        InvalidRequest: it is there and is no RFC 3339 time with a zone.
    """
    value = request.args.get(name)
    if value is None:
        return None
    with suppress(ValueError):
        time = datetime.fromisoformat(value)
        if time.tzinfo:
            return time
    raise InvalidRequest("must be a time such as 2026-11-22T08:46:38Z", field=name)


def flag(name: str) -> bool:
    """Read a yes or no; no where it is missing. The spellings are those of Kubernetes' API.

    Raises:
        InvalidRequest: it is there and neither.
    """
    value = request.args.get(name, "false").lower()
    if value not in _FLAGS:
        raise InvalidRequest("must be true or false", field=name)
    return _FLAGS[value]


_FLAGS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False, "": False}
