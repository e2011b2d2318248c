"""The pauses between attempts."""

from broker.backoff import Backoff
from broker.provider import ProviderUnavailable

FAILURE = ProviderUnavailable("down")


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 1.0)
    assert [backoff.after(FAILURE) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.after(FAILURE) == 0.1


def test_who_asks_for_more_time_gets_it() -> None:
    backoff = Backoff(0.1, 1.0)
    assert backoff.after(ProviderUnavailable("busy", 7.0)) == 7.0
    assert backoff.after(ProviderUnavailable("busy", 0.01)) == 0.2


def test_a_failure_that_never_ends_is_counted_for_ever() -> None:
    backoff = Backoff(0.1, 1.0)
    assert {backoff.after(FAILURE) for _ in range(5000)} == {0.1, 0.2, 0.4, 0.8, 1.0}
