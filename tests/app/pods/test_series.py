"""Pods over time: counts by health, creations and deletions, the time to Ready."""

from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.pods import series as module
from app.pods.samples import Sample
from app.pods.series import Series
from app.services import Services
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

REQUESTS = [a_container(resources={"requests": {"cpu": "500m", "memory": "1Gi"}})]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


def chart(services: Services, start: datetime, end: datetime) -> Series:
    return services.series.between(start, end, last=services.series.counts(end).sample)


def healths(sample: Sample | None) -> dict[str, int]:
    return {name: count for name, count in sample.pods.items() if count} if sample else {}


def test_points_have_the_pods_of_their_time(client: FlaskClient, clock: Clock, services: Services) -> None:
    start = clock()
    clock.advance(300)
    pod = put_on(client, a_pod("web", containers=REQUESTS))
    clock.advance(300)
    put_on(client, a_pod("db", containers=REQUESTS))
    clock.advance(300)
    client.delete("/deletePod", json=pod)
    clock.advance(300)

    found = chart(services, start, clock())

    assert found.step == timedelta(seconds=30)
    assert found.points[-1].time == clock()
    assert [healths(point.sample) for point in found.points[::9]] == [
        {}, {}, {"healthy": 1}, {"healthy": 2}, {"healthy": 1},
    ]  # fmt: skip
    last = found.points[-1].sample
    assert last
    assert (last.cpu_millicores, last.memory_bytes) == (500, 2**30)
    assert sum(point.interval.created for point in found.points) == 2
    assert sum(point.interval.deleted for point in found.points) == 1
    assert [point.interval.ready_p50 for point in found.points if point.interval.ready_p50] == [10.0, 10.0]


def test_the_last_point_is_the_present(client: FlaskClient, clock: Clock, services: Services) -> None:
    put_on(client, a_pod("web"))
    clock.advance(60)

    present, past = services.series.counts().namespaces, services.series.counts(clock()).namespaces

    assert [tuple(row) for row in present] == [("default", None, "healthy", 1, 1, 0, 0)]
    assert [tuple(row) for row in past] == [tuple(row) for row in present]


@pytest.mark.parametrize(
    ("hours", "seconds"), [(0.25, 15), (1, 60), (6, 600), (24, 1800), (168, 10800), (9000, 604800)]
)
def test_a_chart_has_at_most_sixty_points(hours: float, seconds: int) -> None:
    span = timedelta(hours=hours)

    assert module._step(span).total_seconds() == seconds
    assert span / module._step(span) <= 60
