"""A condition on a part of a text, on both databases."""

from typing import Any

from sqlalchemy import Boolean, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_ESCAPE = "\\"


class Contains(FunctionElement[bool]):
    """Whether a text contains another one; ASCII letters match in either case.

    SQLAlchemy's `icontains` converts both to lower case, which takes twice as long in SQLite, where LIKE ignores
    the case already.
    """

    type = Boolean()
    name = "contains"
    inherit_cache = True

    def __init__(self, column: Any, part: str) -> None:
        for character in (_ESCAPE, "%", "_"):
            part = part.replace(character, _ESCAPE + character)
        super().__init__(column, literal(f"%{part}%"))


@compiles(Contains, "sqlite")
def _sqlite(element: Contains, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = element.clauses
    return compiler.process(column.like(pattern, escape=_ESCAPE), **options)


@compiles(Contains, "postgresql")
def _postgresql(element: Contains, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = element.clauses
    return compiler.process(column.ilike(pattern, escape=_ESCAPE), **options)
