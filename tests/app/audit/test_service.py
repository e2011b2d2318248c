"""The audit log: which events a filter selects, and in which order and pages they are read."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit import service
from app.audit.service import AuditFilter, AuditLog
from app.core.errors import InvalidRequest
from tests.app.web.conftest import change, put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


@pytest.fixture
def log(app: Flask) -> AuditLog:
    return services_of(app).audit


@pytest.fixture
def uid(client: FlaskClient, clock: Clock) -> str:
    """Send five requests, two of them after a second; return the UID of the pod of most."""
    pod = put_on(client, a_pod("web"))
    change(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    clock.advance(1)
    put_on(client, a_pod("other", namespace="b"))
    client.delete("/deletePod", json=a_pod("web", uid="nobody"))
    client.delete("/deletePod", json=pod)
    return str(pod["metadata"]["uid"])


def test_a_filter_selects_the_same_events_everywhere(log: AuditLog, uid: str, clock: Clock) -> None:
    for which, wanted in (
        (AuditFilter(), ["create", "update", "create", "delete", "delete"]),
        (AuditFilter(until=clock()), ["create", "update"]),
        (AuditFilter(since=clock()), ["create", "delete", "delete"]),
        (AuditFilter(namespace="b"), ["create"]),
        (AuditFilter(verb="delete"), ["delete", "delete"]),
        (AuditFilter(verb="delete", outcome="refused"), ["delete"]),
        (AuditFilter(outcome="done"), ["create", "update", "create", "delete"]),
        (AuditFilter(uid=uid), ["create", "update", "delete"]),
        (AuditFilter(what="metadata.labels"), ["update"]),
        (AuditFilter(who="127.0.0.1"), ["create", "update", "create", "delete", "delete"]),
        (AuditFilter(who="kubectl"), []),
    ):
        assert [event["verb"] for event in log.events(which)] == wanted
        assert [event["verb"] for event in log.events(which, newest_first=True)] == wanted[::-1]
        assert [event["verb"] for event in log.last_events(which, count=9)] == wanted
        assert [event["verb"] for event in log.page(which).events] == wanted[::-1]
        assert log.count(which) == len(wanted)


def test_pages_begin_behind_the_previous_one(log: AuditLog, uid: str) -> None:
    first = log.page(AuditFilter(), limit=3)
    second = log.page(AuditFilter(), after=first.after, limit=3)

    assert [event["verb"] for event in first.events] == ["delete", "delete", "create"]
    assert [event["verb"] for event in second.events] == ["update", "create"]
    assert second.after is None
    with pytest.raises(InvalidRequest, match="names no row"):
        log.page(AuditFilter(), after=10**9)


def test_a_page_ends_at_a_time(log: AuditLog, uid: str, clock: Clock) -> None:
    [last] = log.last_events(AuditFilter(until=clock()), count=1)
    for time in (last["at"], clock()):
        newest = log.page(AuditFilter(), at=time).events[0]
        assert newest == [*log.events(AuditFilter(), at=time)][-1]
        assert newest["at"] == time, "the time itself is included"


def test_a_search_looks_at_so_many_events(log: AuditLog, uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_SEARCHED_EVENTS", 2)
    search = AuditFilter(what="metadata.labels")

    nothing = log.page(search)
    found = log.page(search, after=nothing.after)

    assert nothing.events == []
    assert [event["verb"] for event in found.events] == ["update"]
    assert len(log.page(AuditFilter(namespace="default", name="web")).events) == 4, "an index selects them"
