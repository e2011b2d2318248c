"""The time that a page shows: live, a point in time, a range, and steps from change to change."""

from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.core.timestamps import rfc3339_micro
from tests.app.web.conftest import on_sqlite_alone, put_on
from tests.app.web.ui.pages import get
from tests.conftest import Clock, MakeApp
from tests.pods import a_pod

pytestmark = on_sqlite_alone


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


def shown(client: FlaskClient, path: str, **query: str) -> str:
    """Return the text of the page with its time control."""
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    return " ".join(unescape(answer.text).split())


def test_a_range_shows_the_state_at_its_end(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod("web"))
    clock.advance(3600)

    page = shown(client, "/ui/", **{"from": "2026-11-22T08:46:00", "to": "2026-11-22T08:46:40"})

    assert "State at <time" in page
    assert "2026-11-22 08:46:00 \N{EN DASH} <time" in page
    assert 'In progress</span> <b class="num">1</b>' in page


def test_a_duration_ends_now_and_is_live(client: FlaskClient, clock: Clock) -> None:
    clock.advance(3600)

    page = shown(client, "/ui/", **{"from": "6h"})

    assert "last 6h, <time" in page
    assert 'data-live="10"' in page
    assert "2026-11-22 03:46:38 \N{EN DASH} 2026-11-22 09:46:38 UTC" in page
    assert 'href="/ui/pods?from=6h"' in page, "links keep the range"


@pytest.mark.parametrize(("given", "said"), [("7d", "last 7d"), ("1d12h", "last 36h"), ("1000h", "last 1000h")])
def test_a_duration_may_have_days(client: FlaskClient, given: str, said: str) -> None:
    assert f"{said}, <time" in shown(client, "/ui/audit", **{"from": given})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"from": "soon"}, "from: must be a time such as 2026-11-22T08:46:38, or a duration such as 6h"),
        ({"from": "0s"}, "from: must be a time"),
        ({"from": "9999d"}, "from: must be a time such as 2026-11-22T08:46:38, or a duration such as 6h"),
        ({"from": "2026-11-22T09:00:00"}, "from: must not be in the future"),
        ({"from": "1h", "to": "2026-11-22T09:00:00"}, "to: must not be in the future"),
        ({"from": "2026-11-22T08:00:00", "to": "2026-11-22T07:00:00"}, "from: must be before to"),
        ({"to": "2026-11-22T08:00:00"}, "from: required with to"),
        ({"at": "2026-11-22T08:00:00", "from": "1h"}, "at: must not be combined with from and to"),
        ({"at": "1969-12-31T23:00:00"}, "at: must not be before 1970"),
        ({"at": "0001-01-01T00:00:00+10:00"}, "at: must be a time"),
    ],
)
def test_an_invalid_time_is_named(client: FlaskClient, query: dict[str, str], message: str) -> None:
    assert message in get(client, "/ui/", 400, **query)


def test_steps_lead_from_change_to_change(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod("web"))
    created_at = clock()
    clock.advance(60)

    back = client.get("/ui/previous/pods?namespace=default&after=7")
    again = client.get(f"/ui/previous/pods?at={rfc3339_micro(created_at)}")
    forth = client.get(back.headers["Location"].replace("/ui/pods", "/ui/next/pods"))

    assert back.status_code == again.status_code == forth.status_code == 302
    assert urlsplit(back.headers["Location"]).path == "/ui/pods"
    assert parse_qs(urlsplit(back.headers["Location"]).query) == {
        "namespace": ["default"],
        "at": ["2026-11-22T08:46:48.123456Z"],
    }
    assert parse_qs(urlsplit(again.headers["Location"]).query) == {"at": [rfc3339_micro(created_at)]}, (
        "there is none"
    )
    assert forth.headers["Location"] == "/ui/pods?namespace=default", "after the last change the page is live"


def test_parameters_do_not_become_arguments(client: FlaskClient) -> None:
    """`endpoint` and `_external` are arguments of Flask's function that builds URLs."""
    for path in ("/ui/", "/ui/pods", "/ui/audit"):
        answer = client.get(path, query_string={"endpoint": "x", "_external": "1", "_anchor": "y", "at": ""})
        assert answer.status_code == 200
        assert "http://" not in answer.text.replace("http://www.w3.org", "")


def test_an_error_page_has_no_invalid_time(client: FlaskClient) -> None:
    assert "yesterday" not in client.get("/ui/?at=yesterday").text
