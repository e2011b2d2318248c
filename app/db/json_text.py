"""A member of a JSON text column as text, on both databases."""

from typing import Any

from sqlalchemy import Text, func, literal
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class JsonText(FunctionElement[str]):
    """The member of a JSON object at a path; NULL where there is none.

    Args:
        column: a column with JSON as text.
        path: the keys, none of which contains a quotation mark.
    """

    type = Text()
    name = "json_text"
    inherit_cache = True

    def __init__(self, column: Any, *path: str) -> None:
        whole = "$" + "".join(f'."{key}"' for key in path)
        super().__init__(column, literal(whole), *map(literal, path))


@compiles(JsonText, "sqlite")
def _sqlite(element: JsonText, compiler: SQLCompiler, **options: Any) -> str:
    column, whole, *_ = element.clauses
    return compiler.process(func.json_extract(column, whole), **options)


@compiles(JsonText, "postgresql")
def _postgresql(element: JsonText, compiler: SQLCompiler, **options: Any) -> str:
    # PostgreSQL cannot convert a NUL within JSON to text.
    column, _, *path = element.clauses
    document = func.replace(column, "\\u0000", "\\ufffd").cast(JSON)
    return compiler.process(func.json_extract_path_text(document, *path), **options)
