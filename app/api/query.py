"""Parameters of a query."""

import re

from flask import request

from app.errors import InvalidRequest, NotFound


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


def optional_int(name: str) -> int | None:
    """Read a whole number that may be missing.

    Raises:
        InvalidRequest: it is there and is no whole number.
    """
    value = request.args.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,100}", value):
        raise InvalidRequest("must be a whole number", field=name)
    return int(value)
