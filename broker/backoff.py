"""Exponential backoff: the delays between attempts at an operation that fails."""

from collections.abc import Callable

_LARGEST_EXPONENT = 32
"""Caps the exponent: `2.0 ** 1024` overflows, and an outage of some hours has that many failures."""


class Backoff:
    """Delays that double with each consecutive failure.

    Args:
        shortest: seconds after the first failure.
        longest: upper limit of a delay in seconds, unless the server asks for more.
        jitter: returns the factor by which each delay is multiplied; 1 by default.
    """

    def __init__(self, shortest: float, longest: float, *, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self._shortest = shortest
        self._longest = longest
        self._jitter = jitter
        self.failures = 0

    def after(self, error: Exception, *, at_most: float | None = None) -> float:
        """Count a failure and return the delay before the next attempt.

        Args:
            error: the failure; its `retry_after`, where it has one, is the least delay in seconds.
            at_most: upper limit of this delay in seconds, in place of `longest` and over `retry_after`.

        Returns:
            Seconds.
        """
        longest = self._longest if at_most is None else at_most
        delay = min(self._shortest * 2.0 ** min(self.failures, _LARGEST_EXPONENT), longest) * self._jitter()
        self.failures += 1
        delay = max(delay, getattr(error, "retry_after", None) or 0)
        return delay if at_most is None else min(delay, at_most)

    def reset(self) -> None:
        """Set the number of failures to 0, after a success."""
        self.failures = 0
