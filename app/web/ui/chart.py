"""A chart as a table: a script draws it, and without the script people read it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from app.core.quantity import BINARY_SUFFIXES

Unit = Literal["pods", "cpu", "memory", "seconds"]


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        color: the name of the CSS variable.
        values: the value at each time; None where it is unknown.
    """

    name: str
    color: str
    values: Sequence[float | None]


class ChartTable(NamedTuple):
    """A chart as a table with a row for each time.

    Attributes:
        kind: how it is drawn; the areas of a stack are drawn on each other.
        summary: what it shows, in a few words.
        has_gaps: an unknown value is a gap in a line; otherwise, the line joins the known ones.
    """

    id: str
    title: str
    summary: str
    kind: Literal["stack", "bars", "lines"]
    unit: Unit
    times: Sequence[datetime]
    lines: Sequence[Line]
    has_gaps: bool = False

    def format(self, value: float | None) -> str:
        """Format a value with its unit; nothing where it is unknown."""
        if value is None:
            return ""
        if self.unit in ("cpu", "memory"):
            return format_rounded(value, self.unit)
        return f"{value:.2f} s" if self.unit == "seconds" else f"{value:,.0f}"


def format_rounded(value: float, resource: str) -> str:
    """Format an amount to three digits, with the suffixes of Kubernetes: CPU below one core in millicores.

    >>> format_rounded(0.0005, "cpu"), format_rounded(0.41566, "cpu"), format_rounded(12.5, "cpu")
    ('0.5m', '416m', '12.5')
    >>> format_rounded(1.5 * 2**30, "memory"), format_rounded(226.74 * 2**20, "memory")
    ('1.5Gi', '227Mi')
    """
    suffix = "m" if resource == "cpu" and 0 < value < 1 else ""
    value = value * 1000 if suffix else value
    while resource == "memory" and abs(value) >= 1024 and suffix != BINARY_SUFFIXES[-1]:
        value, suffix = value / 1024, BINARY_SUFFIXES[BINARY_SUFFIXES.index(suffix) + 1]
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals else text) + suffix
