"""Times and durations as the Kubernetes API writes them."""

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MICROSECONDS = {
    "h": 3600e6,
    "m": 60e6,
    "s": 1e6,
    "ms": 1e3,
    "us": 1.0,
    "µs": 1.0,  # with the micro sign
    "μs": 1.0,  # with the Greek letter
    "ns": 1e-3,
}
_LONGEST = timedelta(days=365)
_CENTURY_SECONDS = 100 * 365 * 24 * 3600
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_AGES = (
    (120, "s", ""),
    (600, "m", "s"),
    (3 * 3600, "m", ""),
    (8 * 3600, "h", "m"),
    (48 * 3600, "h", ""),
    (8 * 86400, "d", "h"),
    (2 * 365 * 86400, "d", ""),
    (8 * 365 * 86400, "y", "d"),
    (math.inf, "y", ""),
)
"""Ages below a number of seconds, and the units in which kubectl prints them."""
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|us|µs|μs|ns|h|m|s)", re.ASCII)


@lru_cache(maxsize=64)  # one status has the same time in many places
def rfc3339(time: datetime) -> str:
    """Format an aware time as `metav1.Time`: UTC, whole seconds, `Z`.

    >>> rfc3339(datetime(2026, 11, 22, 8, 46, 38, 999999, tzinfo=UTC))
    '2026-11-22T08:46:38Z'
    """
    return f"{time.astimezone(UTC).isoformat()[:19]}Z"


def parse_rfc3339(text: str) -> datetime:
    """Parse a time that :func:`rfc3339` formatted.

    >>> parse_rfc3339("2026-11-22T08:46:38Z").isoformat()
    '2026-11-22T08:46:38+00:00'
    """
    return datetime.fromisoformat(text)


def rfc3339_micro(time: datetime) -> str:
    """Format an aware time as `metav1.MicroTime`: UTC, microseconds, `Z`.

    >>> rfc3339_micro(datetime(2026, 11, 22, 8, 46, 38, 120, tzinfo=UTC))
    '2026-11-22T08:46:38.000120Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(count: int) -> timedelta:
    """Return a client's number of seconds as a duration, at least zero and at most 100 years.

    >>> seconds(90)
    datetime.timedelta(seconds=90)
    >>> seconds(2**63 - 1) < timedelta.max
    True
    """
    return timedelta(seconds=max(0, min(count, _CENTURY_SECONDS)))


def parse_duration(text: str) -> timedelta:
    """Parse a duration like Go's `time.ParseDuration` (`1.5s`, `2m30s`); a bare number means seconds.

    >>> parse_duration("1m30s").total_seconds()
    90.0

    Raises:
        ValueError: the text is not a duration, or the duration is negative or longer than a year.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        text += "s"
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration such as 500ms, 10s or 1m30s")
    microseconds = sum(float(number) * _MICROSECONDS[unit] for number, unit in parts)
    if microseconds > _LONGEST / timedelta(microseconds=1):
        raise ValueError("longer than a year")
    return timedelta(microseconds=microseconds)


def format_duration(duration: timedelta) -> str:
    """Format a duration for :func:`parse_duration`.

    >>> format_duration(timedelta(minutes=1, milliseconds=500))
    '60.5s'
    """
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def format_age(duration: timedelta) -> str:
    """Format a duration for people, as kubectl does: the longer it is, the fewer units.

    >>> [format_age(timedelta(seconds=s)) for s in (0.4, 119, 150, 600, 12600, 90000, 262800)]
    ['0s', '119s', '2m30s', '10m', '3h30m', '25h', '3d1h']
    """
    seconds = max(0, int(duration.total_seconds()))
    _, unit, smaller = next(row for row in _AGES if seconds < row[0])
    count, rest = divmod(seconds, _SECONDS[unit])
    lesser = rest // _SECONDS[smaller] if smaller else 0
    return f"{count}{unit}{lesser}{smaller}" if lesser else f"{count}{unit}"


def format_wait(duration: timedelta) -> str:
    """Format the time until something happens, as :func:`format_age`, but at least one second.

    >>> format_wait(timedelta(milliseconds=20)), format_wait(timedelta(seconds=31.5))
    ('1s', '32s')
    """
    return format_age(timedelta(seconds=max(1, math.ceil(duration.total_seconds()))))
