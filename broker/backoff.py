"""The pauses between attempts at what fails."""


class Backoff:
    """Pauses that double as failures follow each other.

    Args:
        shortest: seconds after the first failure.
        longest: seconds that no pause exceeds, unless the other side asks for more.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self.failures = 0

    def after(self, error: Exception) -> float:
        """Count a failure; give the seconds to wait, which are no fewer than the error's `retry_after`."""
        delay = min(self._shortest * 2.0 ** min(self.failures, 32), self._longest)
        self.failures += 1
        return max(delay, getattr(error, "retry_after", None) or 0)

    def reset(self) -> None:
        """Begin anew, after a success."""
        self.failures = 0
