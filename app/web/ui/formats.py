"""Template filters: times, durations, quantities, percentages, JSON."""

import re
from datetime import UTC, datetime, timedelta

import orjson
from flask import Flask
from markupsafe import Markup, escape

from app.core.quantity import format_amount, parse_quantity, percentage
from app.core.timestamps import format_age, format_wait
from app.pods.attention import PROBLEMS
from app.web.ui.changes import described
from app.web.ui.chart import format_rounded

_BREAK = re.compile(r"(?<=[./:@_\]])(?=\S)")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)Z", re.ASCII)


def init_app(app: Flask) -> None:
    """Register the filters, and the values of the column STATUS of a pod that fails."""
    failing = [problem.statuses for problem in PROBLEMS.values() if problem.health == "failing"]
    app.jinja_env.globals["FAILING"] = frozenset(status for statuses in failing for status in statuses)
    app.jinja_env.filters.update(
        age=age,
        wait=format_wait,
        span=span,
        breakable=breakable,
        described=described,
        clock=clock,
        iso=iso,
        parsed_time=parsed_time,
        with_times=with_times,
        amount=format_amount,
        usage=format_rounded,
        share=percentage,
        quantity=quantity,
        pretty=pretty,
    )


def age(duration: timedelta) -> str:
    """Format a duration: in milliseconds below one second, else as kubectl does.

    >>> age(timedelta(milliseconds=250)), age(timedelta(hours=25))
    ('250ms', '25h')
    """
    milliseconds = round(duration.total_seconds() * 1000)
    return f"{milliseconds}ms" if 0 < milliseconds < 1000 else format_age(duration)


def span(duration: timedelta) -> str:
    """Format the length of a range in the largest unit that divides it.

    >>> span(timedelta(hours=6)), span(timedelta(days=7)), span(timedelta(minutes=90)), span(timedelta(seconds=15))
    ('6h', '7d', '90m', '15s')
    """
    seconds = round(duration.total_seconds())
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if (seconds > unit and seconds % unit == 0) or seconds == unit != 86400:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s"


def breakable(text: str) -> Markup:
    """Return a name with the places at which a line may break: behind `.`, `/`, `:`, `@`, `_` and `]`.

    >>> breakable("spec.containers[web].image")
    Markup('spec.<wbr>containers[web]<wbr>.<wbr>image')
    """
    return Markup(_BREAK.sub("<wbr>", str(escape(text))))  # noqa: S704 - it is escaped


def clock(time: datetime) -> str:
    """Format a time in UTC, to the second.

    >>> clock(datetime(2026, 11, 22, 8, 46, 38, 120000, tzinfo=UTC))
    '2026-11-22 08:46:38'
    """
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def parsed_time(value: object) -> datetime | None:
    """Parse a time of a status; None where it is none.

    >>> parsed_time("2026-11-22T08:46:38Z"), parsed_time(None), parsed_time("soon")
    (datetime.datetime(2026, 11, 22, 8, 46, 38, tzinfo=datetime.timezone.utc), None, None)
    """
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def with_times(text: str) -> Markup:
    """Return a sentence with each of its times as the dashboard shows times.

    >>> with_times("since 2026-11-22T08:46:38Z")
    Markup('since <time class="num" datetime="2026-11-22T08:46:38Z">2026-11-22 08:46:38</time>')
    """
    html = str(escape(text))
    return Markup(_TIME.sub(r'<time class="num" datetime="\g<0>">\1 \2</time>', html))  # noqa: S704 - it is escaped


def iso(time: datetime) -> str:
    """Format a time in ISO 8601, to the microsecond, for links and `datetime` attributes.

    >>> iso(datetime(2026, 11, 22, 8, 46, 38, 120000, tzinfo=UTC))
    '2026-11-22T08:46:38.120000Z'
    """
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def quantity(text: str) -> float:
    """Parse a Kubernetes quantity."""
    return float(parse_quantity(text))


def pretty(document: object) -> str:
    """Format a JSON document with indentation."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
