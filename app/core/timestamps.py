"""Times and durations as the Kubernetes API writes them."""

import re
from datetime import UTC, datetime, timedelta

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
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|us|µs|μs|ns|h|m|s)", re.ASCII)


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
    """Format a duration for people, in its two largest units.

    >>> format_age(timedelta(hours=25, minutes=3)), format_age(timedelta(seconds=0.4))
    ('1d1h', '0s')
    """
    seconds = max(0, int(duration.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            smaller, per = {"d": ("h", 3600), "h": ("m", 60), "m": ("s", 1)}[unit]
            rest = seconds % size // per
            return f"{seconds // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{seconds}s"
