"""The page of the audit log."""

import csv
import re
from typing import Any, get_args

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit import Caller, Outcome, Verb
from tests.app.web.conftest import change, on_sqlite_alone, put_on
from tests.app.web.ui.pages import get
from tests.conftest import Clock, MakeApp
from tests.pods import a_pod

pytestmark = on_sqlite_alone


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(capacity={"cpu": "4", "memory": "8Gi", "pods": "10"})


def test_the_audit_log_is_filtered(client: FlaskClient) -> None:
    pod = put_on(client, a_pod("web"))
    client.delete("/deletePod", json=pod)
    client.delete("/deletePod", json=pod)

    page = get(client, "/ui/audit", verb="delete", refused="true")

    assert page.count("default/web") == 1
    assert re.search('delete 404 default/web .* pod "web" is not in namespace "default"', page)
    assert "No requests match" in get(client, "/ui/audit", namespace="x")
    agent = {"User-Agent": "=HYPERLINK(1)"}
    client.delete("/deletePod", json=pod, headers=agent)
    assert get(client, "/ui/audit", who="hyperlink").count("default/web") == 1
    assert get(client, "/ui/audit", what="not in namespace").count("default/web") == 2


def test_the_audit_log_is_exported_as_it_is_filtered(client: FlaskClient) -> None:
    pod = put_on(client, a_pod("web"))
    client.delete("/deletePod", json=pod, headers={"User-Agent": "=HYPERLINK(1)"})

    lines = client.get("/ui/audit/export?verb=delete").text.splitlines()
    table = list(csv.DictReader(client.get("/ui/audit/export?format=csv").text.splitlines()))

    assert [orjson.loads(line)["user_agent"] for line in lines] == ["=HYPERLINK(1)"]
    assert [(row["verb"], row["user_agent"][:5]) for row in table] == [
        ("delete", "'=HYP"),
        ("create", "Werkz"),
    ]


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_the_audit_log_is_exported_from_the_first_rows_on(client: FlaskClient, format_: str) -> None:
    for _ in range(70):
        client.delete("/deletePod", json=a_pod())

    answer = client.get("/ui/audit/export", query_string={"format": format_}, buffered=False)
    rows = [chunk.count(b"\n") for chunk in answer.iter_encoded()]

    assert rows[-3:] == [5, 50, 15]
    assert sum(rows) == 70 + (format_ == "csv")


def test_the_audit_log_shows_the_state_of_the_hash_chain(make_app: MakeApp) -> None:
    app = make_app(audit_hash_chain=True)
    put_on(app.test_client(), a_pod("web"))

    assert "Hash chain: none of the events below (1) was changed" in get(app.test_client(), "/ui/audit")


def test_the_audit_log_shows_an_update_side_by_side(client: FlaskClient) -> None:
    pod = put_on(client, a_pod("web"))
    pod["spec"]["containers"][0]["image"] = "nginx:1.28"
    pod["metadata"]["labels"] = {"app": "shop"}
    pod["metadata"]["annotations"] = {"note": "mine"}
    change(client, pod)

    page = get(client, "/ui/audit", what="image")

    assert "3 fields: metadata.annotations, …" in page
    assert "spec.containers[web].image nginx:1.27 nginx:1.28" in page
    assert "metadata.labels.app web shop" in page
    assert "metadata.annotations changed; the value is not recorded" in page


@pytest.mark.parametrize(
    ("verb", "recorded", "shown"),
    [
        (
            "scenario",
            {"action": "partition", "nodes": ["a-1", "a-2"], "skipped": {"a-3": "it is down"}, "missing": 1},
            "day, step 2: partition a-1 a-2; not a-3: it is down; 1 fewer than the step wants",
        ),
        (
            "scenario",
            {"action": "drained", "nodes": [], "details": {"evicted": 3, "left": {"shop/web": "budget"}}},
            "day, step 2: drained no node; 3 evicted; shop/web: budget",
        ),
        (
            "mount",
            {
                "volumes": [
                    {
                        "name": "app",
                        "sources": [
                            {"kind": "ServiceAccountToken", "name": "api"},
                            {"kind": "ConfigMap", "name": "a"},
                        ],
                    }
                ]
            },
            "app ServiceAccountToken api, ConfigMap a",
        ),
        (
            "port-forward",
            {"stream": {"port": 80, "ended": "failed", "seconds": 0.5}},
            "port 80, failed, 0.5s",
        ),
    ],
)
def test_the_audit_log_shows_what_is_no_field_of_a_pod(
    app: Flask, verb: Verb, recorded: dict[str, Any], shown: str
) -> None:
    if verb == "scenario":
        recorded = {"scenario": "day", "seed": 0, "step": 2, **recorded}
    caller = Caller(request_id="1", address="localhost", user_agent="test")
    app.extensions["services"].audit.record(caller, verb, [Outcome(None, 200, recorded)])

    page = get(app.test_client(), "/ui/audit", verb=verb)

    assert shown in page
    assert ("no pod named" in page) is (verb != "scenario")


def test_the_audit_log_filters_by_every_verb(client: FlaskClient) -> None:
    page = client.get("/ui/audit").text
    offered = re.findall(r'<option value="([^"]+)"', page)

    assert offered == list(get_args(Verb))
    for verb in offered:
        assert "No requests match" in get(client, "/ui/audit", verb=verb)


def test_the_audit_log_links_to_the_node_after_a_request(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod("web"))
    clock.advance(60)
    client.delete("/deletePod", json=pod)
    clock.advance(60)

    times = re.findall(r'href="/ui/\?at=([^"]*)"', client.get("/ui/audit").text)

    assert ["0 of 10 in use" in get(client, "/ui/", at=at) for at in times] == [True, False]


def test_the_audit_log_is_shown_a_page_at_a_time(client: FlaskClient) -> None:
    for _ in range(51):
        client.delete("/deletePod", json=a_pod())

    [earlier] = re.findall(r'href="(/ui/audit\?after=\d+)" rel="next"', client.get("/ui/audit").text)

    assert client.get(earlier).text.count('<tr id="event-') == 1
