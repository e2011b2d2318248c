"""How the page writes times and numbers."""

from datetime import UTC, datetime, timedelta

import orjson
from flask import Flask

from app.core.quantity import parse_quantity
from app.core.timestamps import format_age

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def init_app(app: Flask) -> None:
    """Give the templates what is here."""
    app.jinja_env.filters.update(
        age=age,
        clock=clock,
        iso=iso,
        precise=precise,
        amount=amount,
        share=share,
        quantity=quantity,
        pretty=pretty,
    )


def age(duration: timedelta) -> str:
    """Write how long something lasts, to the millisecond where it is short.

    >>> age(timedelta(milliseconds=250)), age(timedelta(hours=25))
    ('250ms', '1d1h')
    """
    milliseconds = round(duration.total_seconds() * 1000)
    return f"{milliseconds}ms" if 0 < milliseconds < 1000 else format_age(duration)


def clock(time: datetime) -> str:
    """Write a time for people, in UTC.

    >>> clock(datetime(2026, 11, 22, 8, 46, 38, 120000, tzinfo=UTC))
    '2026-11-22 08:46:38'
    """
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def precise(time: datetime) -> str:
    """Write a time of day to the millisecond, as one reads a log.

    >>> precise(datetime(2026, 11, 22, 8, 46, 38, 120000, tzinfo=UTC))
    '08:46:38.120'
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[11:23]


def iso(time: datetime) -> str:
    """Write a time for links and machines; nothing of it is lost.

    >>> iso(datetime(2026, 11, 22, 8, 46, 38, 120000, tzinfo=UTC))
    '2026-11-22T08:46:38.120000Z'
    """
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def amount(value: float, resource: str) -> str:
    """Write an amount of a resource as Kubernetes does, in as few digits as one reads.

    >>> amount(12.5, "cpu"), amount(1.5 * 2**30, "memory"), amount(1000, "pods")
    ('12.5', '1.5Gi', '1,000')
    """
    if resource in ("memory", "ephemeral-storage"):
        power = 0
        while abs(value) >= 1024 and power < len(_BINARY) - 1:
            value, power = value / 1024, power + 1
        return f"{_digits(value)}{_BINARY[power]}"
    return _digits(value)


def quantity(text: str) -> float:
    """Read a quantity of Kubernetes as a number."""
    return float(parse_quantity(text))


def share(part: float, whole: float) -> float:
    """Say how much of a whole a part is, in percent, and no more than all of it."""
    return round(min(100 * part / whole, 100), 2) if whole > 0 else 0


def pretty(document: object) -> str:
    """Write a JSON document for people."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _digits(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")
