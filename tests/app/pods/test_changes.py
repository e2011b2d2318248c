"""The change before and after a time."""

from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.pods.changes import Changes
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod


@pytest.fixture
def changes(make_app: MakeApp) -> tuple[FlaskClient, Changes]:
    app: Flask = make_app(start_delay="10s")
    return app.test_client(), services_of(app).changes


def test_each_status_and_request_is_a_change(clock: Clock, changes: tuple[FlaskClient, Changes]) -> None:
    client, found = changes
    start = clock()
    pod = put_on(client, a_pod("web"))
    clock.advance(60)
    client.delete("/deletePod", json=pod)
    clock.advance(60)

    times = []
    time = found.after(start - timedelta(hours=1), until=clock())
    while time:
        times.append(time - start)
        time = found.after(time, until=clock())

    seconds = [round(time.total_seconds(), 3) for time in times]
    assert seconds[0] == 0
    assert {0, 1, 10, 60} <= set(seconds)
    assert found.before(clock()) == start + times[-1]
    assert found.before(start) is None


def test_a_scheduled_status_is_no_change_yet(clock: Clock, changes: tuple[FlaskClient, Changes]) -> None:
    client, found = changes
    put_on(client, a_pod("web"))
    clock.advance(5)

    assert found.after(clock(), until=clock()) is None


def test_changes_of_a_pod_are_its_own(clock: Clock, changes: tuple[FlaskClient, Changes]) -> None:
    client, found = changes
    start = clock()
    put_on(client, a_pod("web", uid="u"))
    clock.advance(60)
    put_on(client, a_pod("db"))
    clock.advance(60)

    assert found.before(clock(), uid="u") == start + timedelta(seconds=10)
    assert found.before(clock()) == start + timedelta(seconds=70)
    assert found.before(clock(), uid="nobody") is None
