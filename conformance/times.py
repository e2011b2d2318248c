"""Times as Kubernetes writes them."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def times_in(value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Find every time in a JSON document, by the names that Kubernetes gives them: name and value."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from times_in(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from times_in(member, field)
    elif value is not None and re.search(r"Time$|At$", field):
        yield field, value


def is_rfc3339(value: object) -> bool:
    """Say whether something is a time in RFC 3339, with a zone."""
    return isinstance(value, str) and _RFC3339.fullmatch(value) is not None and instant(value) is not None


def instant(value: str) -> datetime | None:
    """Read a time; None where there is no such day or hour."""
    with suppress(ValueError):
        return datetime.fromisoformat(value)
    return None
