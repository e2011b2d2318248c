"""The dashboard's documents: content, times, redaction."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.core.timestamps import rfc3339_micro
from app.web.ui import pods
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import change, on_sqlite_alone, put_on
from tests.app.web.ui.pages import get, uid
from tests.conftest import Clock, MakeApp
from tests.pods import SECRET, a_container, a_pod, a_secret_pod
from tests.postgres import free_port

pytestmark = on_sqlite_alone

PAGES = ["/ui/", "/ui/pods", "/ui/audit"]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s", capacity={"cpu": "4", "memory": "8Gi", "pods": "10"})


class TestTheNode:
    def test_is_shown_with_what_is_asked_of_it(self, client: FlaskClient) -> None:
        requests = {"requests": {"cpu": "500m", "memory": "1Gi"}}
        put_on(client, a_pod("a", containers=[a_container(resources=requests)]))
        put_on(client, a_pod("b", containers=[a_container(resources=requests)]))

        page = get(client, "/ui/")

        assert "1 of 4 requested 25.0 %" in page
        assert "2Gi of 8Gi requested 25.0 %" in page
        assert "2 of 10 in use 20.0 %" in page
        assert "In progress 2" in page
        assert "Ready True ProviderReady" in page
        assert "InternalIP 127.0.0.1" in page

    def test_is_shown_as_it_was(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod("web"))
        then = rfc3339_micro(clock())
        clock.advance(90)
        client.delete("/deletePod", json=pod)

        page = get(client, "/ui/", at=then)

        assert "State at 2026-11-22 08:46:38 UTC, 90s ago" in page
        assert "1 of 10 in use" in page
        assert "0 of 10 in use" in get(client, "/ui/")
        assert "Conditions" not in page  # no recorded time of creation
        assert "default/ web" in get(client, "/ui/pods", at=then)
        assert "default/ web" not in get(client, "/ui/pods")
        assert "delete" not in get(client, "/ui/audit", at=then).partition("Code")[2]

    def test_keeps_the_time_from_page_to_page(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod())
        clock.advance(60)
        at = "2026-11-22T08:46:39"

        for path in PAGES:
            html = client.get(path, query_string={"at": at}).text
            html = re.sub(r'<div class="times">.*?</div>.*?</details>', "", html, flags=re.DOTALL)
            links = [unescape(link) for link in re.findall(r'href="(/ui/(?!static)[^"]*)"', html)]
            elsewhere = [link for link in links if "at=" not in link]
            assert len(links) > 4
            assert elsewhere == [path], "outside of the time control, only the link to the present has no time"


class TestPods:
    def test_are_shown_a_page_at_a_time(self, client: FlaskClient) -> None:
        for number in range(101):
            put_on(client, a_pod(f"web-{number:03}"))

        first = client.get("/ui/pods?sort=age")
        [after] = re.findall(r'href="(/ui/pods\?[^"]*after=\d+[^"]*)" rel="next"', first.text)
        second = client.get(unescape(after))

        assert re.findall(r"<span>(web-\d+)</span></a>", first.text) == [f"web-{n:03}" for n in range(100, 0, -1)]
        assert re.findall(r"<span>(web-\d+)</span></a>", second.text) == ["web-000"]
        assert "First page" in second.text
        assert 'rel="next"' not in second.text

    def test_are_filtered(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod("web", namespace="shop"))
        clock.advance(10)
        put_on(client, a_pod("db", namespace="shop"))

        assert "shop/ web Running" in get(client, "/ui/pods", phase="Running")
        assert "shop/ db" not in get(client, "/ui/pods", phase="Running")
        assert "shop/ db ContainerCreating" in get(client, "/ui/pods", name="d", namespace="shop")
        assert "No pods match" in get(client, "/ui/pods", name="x")
        assert "shop/ db" in get(client, "/ui/pods", q="containercreating", selector="app=web", ready="false")
        assert "shop/ db" not in get(client, "/ui/pods", status="Running,Completed")

    def test_link_to_orders_and_to_fewer_filters(self, client: FlaskClient) -> None:
        put_on(client, a_pod("web"))

        html = client.get("/ui/pods?q=web&sort=restarts").text
        links = {unescape(link) for link in re.findall(r'href="(/ui/pods[^"]*)"', html)}

        assert {"/ui/pods?q=web&sort=-restarts", "/ui/pods?q=web&sort=name", "/ui/pods?sort=restarts"} <= links
        assert 'aria-sort="ascending"' in html
        assert "1 match search: web" in get(client, "/ui/pods", q="web", sort="restarts")

    def test_are_sorted_by_usage(self, client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, requested, used in (("a", "2", "100m"), ("b", "1", "300m"), ("c", "1500m", "200m")):
            annotations = {"synthetic.virtual-kubelet.io/usage-cpu": used}
            containers = [a_container(resources={"requests": {"cpu": requested}})]
            put_on(client, a_pod(name, metadata={"annotations": annotations}, containers=containers))
        clock.advance(20)
        monkeypatch.setattr(pods, "_PODS_PER_PAGE", 2)

        first = client.get("/ui/pods?sort=-cpu").text
        [after] = re.findall(r'href="([^"]*)" rel="next"', first)
        second = client.get(unescape(after)).text

        assert re.findall(r"<span>(\w)</span></a>", first + second) == ["b", "c", "a"]
        assert "200m of 1.5" in get(client, "/ui/pods", name="c")
        monkeypatch.setattr(pods, "_MAX_BY_USAGE", 2)
        many = client.get("/ui/pods?sort=-cpu").text
        assert re.findall(r"<span>(\w)</span></a>", many) == ["a", "c"]
        assert "Sorted by the requested CPU" in many

    def test_are_shown_with_what_their_containers_wait_for(self, client: FlaskClient) -> None:
        put_on(client, a_pod("web"))

        assert "default/ web ContainerCreating 0/1 0s 198.18.0.2" in get(client, "/ui/pods")


def every_page(client: FlaskClient, pod: dict[str, Any]) -> Iterator[TestResponse]:
    for path in (*PAGES, "/ui/nothing", "/ui/pods?phase=x"):
        yield client.get(path)
    yield client.get("/ui/pod", query_string={"uid": uid(pod)})
    yield client.get("/ui/logs", query_string={"uid": uid(pod), "container": "web"})


def every_download(client: FlaskClient, pod: dict[str, Any]) -> Iterator[TestResponse]:
    for format_ in ("csv", "jsonl"):
        yield client.get("/ui/audit/export", query_string={"format": format_})
    yield client.get("/ui/logs", query_string={"uid": uid(pod), "container": "web", "download": "true"})
    static = Path(client.application.blueprints["ui"].static_folder or "")
    for file in sorted(path for path in static.rglob("*") if path.is_file()):
        answer = client.get(f"/ui/static/{file.relative_to(static)}")
        answer.get_data()
        answer.close()
        yield answer


def test_pages_have_no_environment_values(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_secret_pod())
    clock.advance(10)
    changed = a_secret_pod(f"{SECRET}-rotated")
    change(client, changed)

    answers = [*every_page(client, pod), *every_download(client, pod)]
    then = rfc3339_micro(clock())
    client.delete("/deletePod", json=pod)
    clock.advance(60)
    answers += [*every_page(client, pod), client.get("/ui/pod", query_string={"uid": uid(pod), "at": then})]
    pages = "".join(unescape(answer.text) for answer in answers)

    assert SECRET not in pages
    assert "PASSWORD" in pages


def test_messages_have_no_environment_values(client: FlaskClient, clock: Clock) -> None:
    pod = a_pod(containers=[a_container(env=[{"name": "HINT", "value": "low on resource"}])])
    pod["metadata"]["annotations"] = {"synthetic.virtual-kubelet.io/fail": "Evicted"}
    put_on(client, pod)
    clock.advance(60)

    page = client.get("/ui/pod", query_string={"uid": uid(pod)}).text

    assert "The node was …: memory." in page
    assert "low on resource" not in page


def test_pages_have_a_content_security_policy(client: FlaskClient) -> None:
    for answer in every_page(client, put_on(client, a_pod())):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert re.findall(r'\s(?:on\w+|style|hx-on[^=]*)="', answer.text) == []
        assert re.findall(r"<style|<script>", answer.text) == []
        assert re.findall(r'(?:src|href|action)="(?!/ui/|#)([^"]*)"', answer.text) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"at": "yesterday"}, "at: must be a time"),
        ({"at": "2026-11-22T08:46:39"}, "at: must not be in the future"),
        ({"at": "\0"}, "NUL"),
        ({"phase": "running"}, "phase: must be one of Pending, Running, Succeeded, Failed, Unknown"),
        ({"sort": "size"}, "sort: must be one of name, status, ready"),
        ({"selector": "a in"}, "selector: "),
        ({"status": "a\0"}, "status: must not contain a NUL character"),
        ({"ready": "yes"}, "ready: must be true or false"),
        ({"after": "x"}, "after: must be copied from the link to this page"),
        ({"after": "9" * 30}, "after: must be copied from the link to this page"),
        ({"after": "7"}, "after: names no row"),
        ({"name": "a\0b"}, "name: must not contain a NUL character"),
    ],
)
def test_an_invalid_parameter_is_named(client: FlaskClient, query: dict[str, str], message: str) -> None:
    assert message in get(client, "/ui/pods", 400, **query)


def test_not_found_is_a_page(client: FlaskClient) -> None:
    assert "404 Not Found page not found" in get(client, "/ui/nothing/at/all", 404)
    assert "no pod with the UID nobody is recorded" in get(client, "/ui/pod", 404, uid="nobody")
    assert "uid: required" in get(client, "/ui/pod", 400)


def test_without_the_database_a_page_says_so(make_app: MakeApp) -> None:
    client = make_app(database_url=f"postgresql://127.0.0.1:{free_port()}/none").test_client()

    answer = client.get("/ui/pods")

    assert answer.status == "503 Service Unavailable"
    assert answer.headers["Retry-After"] == "1"
    assert "the database does not answer" in answer.text


@pytest.mark.parametrize("path", [*PAGES, "/ui/static/css/tokens.css", "/ui/logs"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_page_only_shows(client: FlaskClient, path: str, method: str) -> None:
    assert client.open(path, method=method).status_code == 405


def test_the_port_for_probes_has_no_page(make_app: MakeApp) -> None:
    client = make_app(health_port=3001).test_client()

    assert client.get("/ui/", base_url="http://127.0.0.1:3001").status_code == 404


def test_a_page_advances_timelines(make_app: MakeApp, clock: Clock) -> None:
    ScriptedRuntime.play("Running")
    client = make_app(runtime="tests.app.runtimes.scripted:ScriptedRuntime").test_client()
    pod = put_on(client, a_pod())
    clock.advance(5)

    assert "phase Pending → Running" in get(client, "/ui/pod", uid=uid(pod))


def test_an_invalid_filter_is_easily_removed(client: FlaskClient) -> None:
    page = client.get("/ui/pods?selector=((&namespace=shop").text
    other = client.get("/ui/pod?namespace=shop").text

    assert '<a href="/ui/pods?namespace=shop">Show the page without <b>selector</b></a>' in page
    assert "Show the page without" not in other, "the parameter is missing, not invalid"
