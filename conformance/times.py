"""Timestamps in the format of Kubernetes."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def times_in(value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Yield name and value of every timestamp in a JSON document: of each field named `*Time` or `*At`."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from times_in(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from times_in(member, field)
    elif value is not None and re.search(r"Time$|At$", field):
        yield field, value


def is_rfc3339(value: object) -> bool:
    """Return whether a value is a timestamp in RFC 3339 format with a time zone."""
    return isinstance(value, str) and _RFC3339.fullmatch(value) is not None and instant(value) is not None


def instant(value: str) -> datetime | None:
    """Parse a timestamp; return None if the date or the time of day is invalid."""
    with suppress(ValueError):
        return datetime.fromisoformat(value)
    return None
