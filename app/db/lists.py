"""Lists as one parameter of a statement, as JSON: the text of the statement does not depend on their lengths."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import JSON, BigInteger, DateTime, Select, Text, bindparam, cast, func, select, type_coerce

from app.db.models import UtcDateTime


def strings(name: str, dialect: str) -> Select[Any]:
    """Return a select of the strings in the parameter of that name."""
    if dialect == "sqlite":
        return select(func.json_each(bindparam(name)).table_valued("value", name=name).c.value)
    return select(func.json_array_elements_text(_json(name)).column_valued(name))


def numbers(name: str, dialect: str) -> Select[Any]:
    """Return a select of the integers in the parameter of that name."""
    values = strings(name, dialect)
    return values if dialect == "sqlite" else select(cast(values.selected_columns[0], BigInteger))


def pairs(name: str, dialect: str) -> Select[Any]:
    """Return a select of the pairs of strings in the parameter of that name, with two columns."""
    if dialect == "sqlite":
        value = func.json_each(bindparam(name)).table_valued("value", name=name).c.value
        return select(func.json_extract(value, "$[0]"), func.json_extract(value, "$[1]"))
    value = func.json_array_elements(_json(name)).column_valued(name)
    return select(value.op("->>")(0), value.op("->>")(1))


def intervals(name: str, dialect: str) -> Select[Any]:
    """Return a select of the intervals in the parameter of that name, with the columns of their start and end."""
    start, end = pairs(name, dialect).subquery().c
    of_type: Any = type_coerce if dialect == "sqlite" else cast  # SQLite stores times as text
    kind = UtcDateTime() if dialect == "sqlite" else DateTime(timezone=True)
    return select(of_type(start, kind), of_type(end, kind))


def encode_intervals(values: Iterable[tuple[datetime, datetime]]) -> str:
    """Return intervals as the value of a parameter."""
    return encode([[f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" for time in interval] for interval in values])


def encode(values: list[Any]) -> str:
    """Return a list as the value of a parameter."""
    return orjson.dumps(values).decode()


def _json(name: str) -> Any:
    return cast(bindparam(name, type_=Text), JSON)
