"""A time as the number of whole seconds since 1970, on both databases, to group rows by intervals."""

from typing import Any

from sqlalchemy import BigInteger, cast, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class EpochSeconds(FunctionElement[int]):
    """The whole seconds of a time column since 1970."""

    type = BigInteger()
    name = "epoch_seconds"
    inherit_cache = True


@compiles(EpochSeconds, "sqlite")
def _sqlite(element: EpochSeconds, compiler: SQLCompiler, **options: Any) -> str:
    [column] = element.clauses
    return compiler.process(cast(func.strftime("%s", column), BigInteger), **options)


@compiles(EpochSeconds, "postgresql")
def _postgresql(element: EpochSeconds, compiler: SQLCompiler, **options: Any) -> str:
    [column] = element.clauses
    return compiler.process(cast(func.floor(func.extract("epoch", column)), BigInteger), **options)
