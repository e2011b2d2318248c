"""Times and durations as the Kubernetes API writes them."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|us|h|m|s)")


def rfc3339(time: datetime) -> str:
    """Write an aware time as `metav1.Time` does: UTC, whole seconds, `Z`.

    >>> rfc3339(datetime(2026, 11, 22, 8, 46, 38, 999999, tzinfo=UTC))
    '2026-11-22T08:46:38Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(text: str) -> timedelta:
    """Read a duration as Go's `time.ParseDuration` does (`1.5s`, `2m30s`); a bare number means seconds.

    >>> parse_duration("1m30s").total_seconds()
    90.0

    Raises:
        ValueError: the text is no duration, or a negative one.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "s"
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration such as 500ms, 10s or 1m30s")
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    except OverflowError as exc:
        raise ValueError("too long") from exc
