"""The delays between attempts."""

from broker.backoff import Backoff
from broker.errors import ProviderUnavailable

FAILURE = ProviderUnavailable("down")


def test_delays_double_until_reset() -> None:
    backoff = Backoff(0.1, 1.0)
    assert [backoff.after(FAILURE) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.after(FAILURE) == 0.1


def test_retry_after_extends_the_delay() -> None:
    backoff = Backoff(0.1, 1.0)
    assert backoff.after(ProviderUnavailable("busy", 7.0)) == 7.0
    assert backoff.after(ProviderUnavailable("busy", 0.01)) == 0.2


def test_5000_failures_keep_the_longest_delay() -> None:
    backoff = Backoff(0.1, 1.0)
    assert {backoff.after(FAILURE) for _ in range(5000)} == {0.1, 0.2, 0.4, 0.8, 1.0}
