"""The line that says how a pod is."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.pods.explain import PodHistory
from app.pods.headline import headline
from tests.app.web.conftest import on_sqlite_alone, put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod

pytestmark = on_sqlite_alone
DOMAIN = "synthetic.virtual-kubelet.io/"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


def line(app: Flask, pod: dict[str, Any], *, clock: Clock) -> str:
    services = services_of(app)
    record = services.history.pod(uid=pod["metadata"]["uid"])
    return ", ".join(headline(record.history, now=clock()))


def test_names_status_failure_restarts_and_next(app: Flask, client: FlaskClient, clock: Clock) -> None:
    annotations = {f"{DOMAIN}run-for": "2s", f"{DOMAIN}exit-code": "3"}
    pod = put_on(client, a_pod("web", metadata={"annotations": annotations}))
    clock.advance(4)
    assert line(app, pod, clock=clock) == "ContainerCreating for 3s, Running in 6s"
    clock.advance(12)
    found = line(app, pod, clock=clock)

    assert found.startswith("CrashLoopBackOff for ")
    assert "exit code 3, 1 restart, " in found or "exit code 3, 0/1 ready, " in found
    assert ", next try in " in found


def test_never_waits_for_zero_seconds(app: Flask, client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod("web"))
    clock.advance(9.5)

    assert line(app, pod, clock=clock) == "ContainerCreating for 8s, Running in 1s"


def test_of_a_deleted_pod(app: Flask, client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod("web"))
    clock.advance(20)
    assert line(app, pod, clock=clock) == "Running for 10s"
    client.delete("/deletePod", json=pod)
    clock.advance(60)

    assert line(app, pod, clock=clock) == "Deleted 60s ago"
    before = PodHistory([], None, None)
    assert headline(before, now=clock() - timedelta(days=1)) == []


def test_names_each_reason_once(app: Flask, client: FlaskClient, clock: Clock) -> None:
    evicted = put_on(client, a_pod("evicted", metadata={"annotations": {f"{DOMAIN}fail": "Evicted"}}))
    clock.advance(60)

    assert line(app, evicted, clock=clock).split(", ")[1:] == ["Evicted", "exit code 137"]
