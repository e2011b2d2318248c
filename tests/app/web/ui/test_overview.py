"""The overview: what needs attention, with links to the pods; charts as tables."""

import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.core.timestamps import rfc3339_micro
from app.pods import samples
from tests.app.web.conftest import on_sqlite_alone, put_on
from tests.app.web.ui.pages import get
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod

pytestmark = on_sqlite_alone

FAIL = "synthetic.virtual-kubelet.io/fail"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="1s")


def failing(name: str, failure: str) -> dict[str, Any]:
    return a_pod(name, namespace="shop", metadata={"annotations": {FAIL: failure}})


def links(page: str, problem: str) -> list[str]:
    [card] = re.findall(rf'<li class="card \w+" id="problem-{problem}">(.*?)\n  </li>', page, re.DOTALL)
    return re.findall(r'href="([^"]+)"', card)


@pytest.fixture
def six_pods(client: FlaskClient, clock: Clock) -> None:
    """Create six pods, of which one is healthy."""
    for number in range(4):
        put_on(client, failing(f"crash-{number}", "CrashLoopBackOff"))
    put_on(client, failing("image", "ImagePullBackOff"))
    put_on(client, a_pod("well"))
    clock.advance(120)


@pytest.mark.usefixtures("six_pods")
def test_problems_come_first_with_links_to_the_list(client: FlaskClient) -> None:
    text, page = get(client, "/ui/"), client.get("/ui/").text

    assert "5 of 6 pods need attention Failing 5 Healthy 1" in text
    assert "4 CrashLoopBackOff Read the log of the previous run" in text
    assert "1 ImagePullBackOff" in text
    assert links(page, "crash-loop")[0] == "/ui/pods?problem=crash-loop"
    assert "1 more" in text
    assert page.index("problem-crash-loop") < page.index("problem-image-pull") < page.index("chart-pods")


def test_a_node_without_problems_says_so(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod("well"))
    clock.advance(60)

    page = get(client, "/ui/")

    assert "1 pod is well" in page
    assert "Nothing: every pod is running and ready" in page


def test_a_node_without_pods_says_what_to_do(client: FlaskClient) -> None:
    assert "This node has no pods" in get(client, "/ui/")
    assert "kubectl run web" in get(client, "/ui/")


def test_refused_requests_need_attention_within_the_range(client: FlaskClient, clock: Clock) -> None:
    client.delete("/deletePod", json=a_pod("none"))
    clock.advance(2 * 3600)

    assert "Refused" not in get(client, "/ui/")
    assert links(
        client.get("/ui/", query_string={"at": rfc3339_micro(clock() - timedelta(hours=1.5))}).text, "refused"
    ) == [f"/ui/audit?from=1h&amp;to={rfc3339_micro(clock() - timedelta(hours=1.5))}&amp;refused=true"]
    page = client.get("/ui/", query_string={"from": "3h"}).text
    assert '<b class="bad">404</b>' in page
    assert links(page, "refused") == ["/ui/audit?from=3h&amp;refused=true"]


def test_a_chart_is_a_table(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_pod("well"))
    clock.advance(600)
    put_on(client, failing("image", "ImagePullBackOff"))
    clock.advance(600)

    page = client.get("/ui/", query_string={"from": "20m"}).text

    [chart] = re.findall(r'<figure [^>]*id="chart-pods">(.*?)</figure>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", chart, re.DOTALL)[1:]
    values = [tuple(re.findall(r'data-value="([^"]*)"', row)) for row in rows]
    assert re.findall(r'data-color="--(\w+)"', chart) == ["failing", "healthy"]
    assert (values[0], values[-1]) == (("1", "1"), ("0", "1")), "the latest first"
    assert set(values) == {("1", "1"), ("0", "1")}


@pytest.mark.usefixtures("six_pods")
def test_a_count_is_that_of_the_list(client: FlaskClient, clock: Clock) -> None:
    for query, count in (
        ("problem=crash-loop", 4),
        ("problem=image-pull", 1),
        ("health=failing", 5),
        ("health=healthy", 1),
    ):
        for at in ("", f"&at={rfc3339_micro(clock())}"):
            page = client.get(f"/ui/pods?{query}{at}").text
            assert page.count("data-row") == count, query
            assert page.count('class="badge failing"') == (0 if "healthy" in query else count)
    assert "problem: must be one of crash-loop" in get(client, "/ui/pods", 400, problem="x")


def test_no_two_elements_have_the_same_id(client: FlaskClient, clock: Clock) -> None:
    for name in ("a", "b"):
        pod = put_on(client, a_pod(name))
        pod["metadata"]["labels"] = {"changed": "yes"}
        assert client.put("/updatePod", json=pod).status_code == 200
    clock.advance(10)

    for path in ("/ui/", "/ui/pods", "/ui/audit", f"/ui/pod?uid={pod['metadata']['uid']}"):
        ids = Counter(re.findall(r' id="([^"]*)"', client.get(path).text))
        assert [name for name, count in ids.items() if count > 1] == [], path


def test_a_crashing_container_is_as_red_as_its_pod(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, failing("crash", "CrashLoopBackOff"))
    clock.advance(120)

    page = client.get(f"/ui/pod?uid={pod['metadata']['uid']}").text

    assert page.count('<span class="badge failing">CrashLoopBackOff</span>') >= 2
    assert '<li class="card failing">' in page


def test_charts_of_many_pods_grow(
    app: Flask, client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_FEW", 0)
    put_on(client, a_pod("web"))
    clock.advance(3600)
    then = rfc3339_micro(clock() - timedelta(minutes=5))

    first = client.get("/ui/", query_string={"at": then}).text
    services = services_of(app)
    services.series.samples.wait()
    complete = client.get("/ui/", query_string={"at": then}).text

    assert "earlier points are being counted" in first
    assert 'id="live" data-live="3"' in first, "also a past time is reloaded until then"
    assert "being counted" not in complete
    assert "data-live" not in complete
