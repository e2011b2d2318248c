"""Counts of the pods at past times: made once, and those of many pods by a thread."""

from datetime import datetime, timedelta

import pytest

from app.core.errors import DatabaseUnavailable
from app.pods import samples as module
from app.pods.samples import KeptSamples, Sample
from tests.conftest import Clock

MINUTE = timedelta(minutes=1)


class Counts:
    """Counts as many pods as there were counts before."""

    def __init__(self) -> None:
        self.times: list[datetime] = []
        self.is_unavailable = False

    def __call__(self, at: datetime) -> Sample:
        if self.is_unavailable:
            raise DatabaseUnavailable("the database is locked")
        self.times.append(at)
        return Sample({}, len(self.times), 0, 0)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def samples(counts: Counts, clock: Clock) -> KeptSamples:
    return KeptSamples(counts, clock=clock)


@pytest.fixture
def hour(clock: Clock) -> list[datetime]:
    start = clock()
    clock.advance(3600)
    return [start + MINUTE * minute for minute in range(60)]


def test_few_pods_are_counted_at_once(samples: KeptSamples, counts: Counts, hour: list[datetime]) -> None:
    assert list(samples.at(hour, pods=module._FEW)) == hour == counts.times


def test_a_past_count_is_made_once(samples: KeptSamples, counts: Counts, hour: list[datetime]) -> None:
    first = samples.at(hour, pods=1)

    assert samples.at(hour, pods=1) == first
    assert counts.times == hour


def test_a_count_of_the_last_minute_is_made_again(
    samples: KeptSamples, counts: Counts, hour: list[datetime], clock: Clock
) -> None:
    samples.at(hour, pods=1)
    recent = clock() - timedelta(seconds=1)
    early = samples.at([recent], pods=1)

    assert samples.at([recent], pods=1) == early, "shown until the time is a minute ago"
    clock.advance(60)
    late = samples.at([recent], pods=1)
    clock.advance(60)
    assert samples.at([recent], pods=1) == late != early


def test_many_pods_are_counted_later(samples: KeptSamples, counts: Counts, hour: list[datetime]) -> None:
    many = module._FEW + 1

    assert samples.at(hour, pods=many) == {}
    samples.wait()

    assert list(samples.at(hour, pods=many)) == hour
    assert counts.times == hour[::-1], "the latest time first"


def test_the_last_chart_is_counted(samples: KeptSamples, counts: Counts, hour: list[datetime]) -> None:
    many = module._FEW + 1
    samples.at(hour[:30], pods=many)

    samples.at(hour[30:], pods=many)
    samples.wait()

    assert list(samples.at(hour[30:], pods=many)) == hour[30:]


def test_an_unavailable_database_is_asked_again(
    samples: KeptSamples, counts: Counts, hour: list[datetime]
) -> None:
    many = module._FEW + 1
    counts.is_unavailable = True
    samples.at(hour, pods=many)
    samples.wait()
    counts.is_unavailable = False

    assert samples.at(hour, pods=many) == {}
    samples.wait()
    assert len(samples.at(hour, pods=many)) == 60
