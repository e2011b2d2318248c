"""The clock of the application: a function that tests replace."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time as an aware datetime in UTC."""


def utc_now() -> datetime:
    """Return the current time of the system, in UTC."""
    return datetime.now(UTC)
