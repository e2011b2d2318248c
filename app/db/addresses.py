"""The order of IP addresses, on both databases."""

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


@compiles(IPv4Number, "sqlite")
def _sqlite(element: IPv4Number, compiler: SQLCompiler, **options: Any) -> str:
    """Read `10.0.0.7` as the JSON array `[10,0,0,7]`: SQLite has no function that splits a text."""
    text = compiler.process(element.clauses, **options)
    numbers = f"'[' || replace({text}, '.', ',') || ']'"
    parts = " + ".join(f"(json_extract({numbers}, '$[{place}]') << {24 - 8 * place})" for place in range(4))
    return f"(CASE WHEN instr({text}, ':') = 0 THEN {parts} ELSE 0 END)"


@compiles(IPv4Number, "postgresql")
def _postgresql(element: IPv4Number, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f"(CASE WHEN position(':' IN {text}) = 0 THEN CAST({text} AS inet) - inet '0.0.0.0' ELSE 0 END)"
