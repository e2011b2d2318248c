"""Lists as one parameter of a statement, as JSON: the text of the statement does not depend on their lengths."""

from typing import Any

import orjson
from sqlalchemy import JSON, BigInteger, Select, Text, bindparam, cast, func, select


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


def encode(values: list[Any]) -> str:
    """Return a list as the value of a parameter."""
    return orjson.dumps(values).decode()


def _json(name: str) -> Any:
    return cast(bindparam(name, type_=Text), JSON)
