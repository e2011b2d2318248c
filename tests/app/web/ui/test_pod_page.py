"""The page of a pod, and its log."""

import re
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text as sql

from app.core.timestamps import rfc3339_micro
from app.db.engine import Database
from tests.app.web.conftest import change, on_sqlite_alone, put_on
from tests.app.web.ui.pages import get, uid
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

pytestmark = on_sqlite_alone


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s", capacity={"cpu": "4", "memory": "8Gi", "pods": "10"})


class TestAPod:
    def test_shows_its_timeline(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod("web"))
        clock.advance(4)

        page = get(client, "/ui/pod", uid=uid(pod))

        assert "It is Pending, ContainerCreating, 0/1 ready, since 2026-11-22 08:46:39 (3s)." in page
        assert "PodScheduled True Since 2026-11-22 08:46:38" in page.replace("True 2026", "True Since 2026")
        assert "ContainerCreating for 3s, Running in 6s" in page
        assert "2026-11-22 08:46:38 ContainerCreating for 1s" in page
        assert "2026-11-22 08:46:39 ContainerCreating for 3s" in page
        assert "2026-11-22 08:46:48 Running in 6s phase Pending → Running" in page
        assert 'container "web" in pod "web" is waiting to start' in page

    def test_is_shown_in_the_past_and_deleted(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod("web"))
        clock.advance(60)
        then = rfc3339_micro(clock())
        clock.advance(60)
        client.delete("/deletePod", json=pod)
        clock.advance(60)

        now, before = get(client, "/ui/pod", uid=uid(pod)), get(client, "/ui/pod", uid=uid(pod), at=then)

        assert "default/ web Deleted" in now
        assert "It was deleted at 2026-11-22 08:48:38 ." in now
        assert re.search(r"Deleted 60s ago: delete by Werkzeug/\S+ from 127.0.0.1 ", now)
        assert "What deleted it: delete by Werkzeug" in now
        assert "What deleted it" not in get(client, "/ui/pod", uid=uid(put_on(client, a_pod("live"))))
        assert "default/ web Running" in before
        for page in (now, before):
            assert "command is the image's own" in page
            assert "Follow" not in page
        assert "exited with code 0" in now
        assert "exited with code" not in before

    def test_tells_why_there_is_no_log(self, make_app: MakeApp, clock: Clock) -> None:
        client = make_app(runtime="tests.app.runtimes.scripted:ScriptedRuntime").test_client()
        pod = put_on(client, a_pod("web"))
        client.delete("/deletePod", json=pod)
        clock.advance(60)

        assert "the log was removed with the pod, at 2026-11-22 08:46:38" in get(client, "/ui/pod", uid=uid(pod))

    def test_shows_requests_and_namesakes(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod("web"))
        pod["spec"]["containers"][0]["image"] = "nginx:1.28"
        change(client, pod)
        other = put_on(client, a_pod("web"))

        page = get(client, "/ui/pod", uid=uid(pod))

        assert "spec.containers[web].image nginx:1.27 nginx:1.28" in page
        assert f"Other pods of this name: {uid(other)}" in page
        assert f"replaced {uid(pod)}" in get(client, "/ui/pod", uid=uid(other))

    def test_shows_the_log_of_a_container(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod(containers=[a_container("web"), a_container("sidecar")]))
        clock.advance(10)

        assert "synthetic container web" in get(client, "/ui/pod", uid=uid(pod))
        assert "synthetic container sidecar" in get(client, "/ui/pod", uid=uid(pod), container="sidecar")
        assert 'container "x" is not in pod' in get(client, "/ui/pod", uid=uid(pod), container="x")

    def test_finds_lines_and_downloads_the_log(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod())
        clock.advance(10)

        assert "listening" not in get(client, "/ui/pod", uid=uid(pod), find="FROM IMAGE")
        assert "No line matches" in get(client, "/ui/pod", uid=uid(pod), find="nowhere")
        assert "previous terminated container" in get(client, "/ui/pod", uid=uid(pod), previous="true")
        answer = client.get("/ui/logs", query_string={"uid": uid(pod), "container": "web", "download": "true"})
        assert answer.headers["Content-Disposition"] == "attachment; filename=web-0-web.log"

    def test_shows_no_escape_sequences_of_terminals(self, client: FlaskClient, clock: Clock) -> None:
        written = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07and \x1b(Bplain\n\x1b[2Kblue\n"
        annotations = {"logs.synthetic.virtual-kubelet.io/web": written}
        pod = put_on(client, a_pod(metadata={"annotations": annotations}))
        clock.advance(10)
        key = {"uid": uid(pod), "container": "web"}

        assert "red and plain\nblue\n</pre>" in client.get("/ui/pod", query_string=key).text
        assert client.get("/ui/logs", query_string=key).text == "red and plain\nblue\n"
        assert client.get("/ui/logs", query_string={**key, "find": "RED AND"}).text == "red and plain\n"
        assert client.get("/ui/logs", query_string={**key, "download": "true"}).text == written

    def test_says_that_a_log_is_cut(self, client: FlaskClient, clock: Clock) -> None:
        lines = [f"line {number}" for number in range(300)]
        annotations = {"logs.synthetic.virtual-kubelet.io/web": "\n".join(lines)}
        pod = put_on(client, a_pod(metadata={"annotations": annotations}))
        clock.advance(10)

        page = get(client, "/ui/pod", uid=uid(pod))

        assert "Show Follow Download line 100 line 101 " in page
        assert "The last 200 lines. Download has all lines." in page
        assert "The last 200 lines that match." in get(client, "/ui/pod", uid=uid(pod), find="line")
        assert "The last 200" not in get(client, "/ui/pod", uid=uid(pod), find="line 1")

    def test_folds_long_annotations(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod(metadata={"annotations": {"long": "x" * 20_000, "short": "y" * 300}}))

        page = client.get("/ui/pod", query_string={"uid": uid(pod)}).text

        assert f"<summary>{'x' * 100}\N{HORIZONTAL ELLIPSIS} " in page
        assert "20,000 characters" in page
        assert f"<dd>{'y' * 300}</dd>" in page

    def test_did_not_exist_before_its_creation(self, client: FlaskClient, clock: Clock) -> None:
        before = rfc3339_micro(clock())
        clock.advance(60)
        pod = put_on(client, a_pod("web"))

        page = get(client, "/ui/pod", uid=uid(pod), at=before)

        assert "This pod did not exist yet: it was created 60s later." in page

    def test_shows_what_its_manifest_has(self, client: FlaskClient) -> None:
        container = a_container(
            ports=[{"name": "http", "containerPort": 8080}],
            volumeMounts=[{"name": "config", "mountPath": "/etc/web"}],
        )
        volumes = [{"name": "config", "configMap": {"name": "web-config"}}]
        owner = {"kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True}
        pod = put_on(client, a_pod(metadata={"ownerReferences": [owner]}, containers=[container], volumes=volumes))

        page = get(client, "/ui/pod", uid=uid(pod))

        for part in (
            "Owner ReplicaSet/web-1",
            "app web",
            "web, http 8080/TCP",
            "config configMap web-config web:/etc/web",
            "kubectl describe pod -n default web-0",
            "name: web-config",
        ):
            assert part in page, part

    def test_without_statuses_is_shown(self, client: FlaskClient, database: Database) -> None:
        pod = put_on(client, a_pod("web"))
        client.delete("/deletePod", json=pod)
        with database.write() as connection:
            connection.execute(sql("DELETE FROM pod_statuses"))

        assert "No status of this pod is recorded any more." in get(client, "/ui/pod", uid=uid(pod))

    def test_redaction_keeps_container_names(self, client: FlaskClient, clock: Clock) -> None:
        container = a_container("checkout", env=[{"name": "SERVICE", "value": "checkout"}])
        pod = put_on(client, a_pod(containers=[container]))
        clock.advance(10)

        assert "synthetic container checkout" in get(client, "/ui/pod", uid=uid(pod))

    def test_whose_uid_is_strange_has_a_page(self, client: FlaskClient) -> None:
        strange = "../a b?c&d=é\"'<i>#"
        put_on(client, a_pod("web", uid=strange))

        [link] = re.findall(r'href="(/ui/pod\?[^"]*)"', client.get("/ui/pods").text)

        assert strange in unescape(client.get(unescape(link)).text)
        assert "<i>" not in client.get(unescape(link)).text


class TestALog:
    def test_is_plain_text(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod())
        clock.advance(10)

        answer = client.get("/ui/logs", query_string={"uid": uid(pod), "container": "web"})

        assert answer.content_type == "text/plain; charset=utf-8"
        assert answer.text.startswith("synthetic container web from image nginx:1.27\n")

    def test_is_not_that_of_a_namesake(self, client: FlaskClient, clock: Clock) -> None:
        gone = put_on(client, a_pod("web"))
        clock.advance(20)
        other = put_on(client, a_pod("web"))
        clock.advance(60)

        logs = [
            client.get("/ui/logs", query_string={"uid": uid(pod), "container": "web"}) for pod in (gone, other)
        ]

        assert ["exited with code 0" in log.text for log in logs] == [True, False]


ANY_JSON = [
    5,
    1.5,
    True,
    "text",
    {"name": 5},
    [],
    ["text"],
    [None, 5],
    [[]],
    [{}],
    [{"name": {}}],
    [{"name": "a", "b": 5}],
]


@pytest.mark.parametrize("field", ["env", "envFrom", "volumeMounts", "volumes", "tolerations", "imagePullSecrets"])
@pytest.mark.parametrize("value", ANY_JSON, ids=repr)
def test_a_field_that_nothing_reads_can_be_any_json(client: FlaskClient, field: str, value: Any) -> None:
    in_container = field in {"env", "envFrom", "volumeMounts"}
    volumes: dict[str, Any] = {"volumes": [{"name": "a", "emptyDir": {}}]}
    pod = a_pod(containers=[a_container(**{field: value})], **volumes) if in_container else a_pod(**{field: value})
    put_on(client, pod)
    assert client.get("/ui/pod", query_string={"uid": uid(pod)}).status_code == 200
    change(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    for path in ("/ui/", "/ui/pods", "/ui/audit", "/podStats", "/getPods"):
        assert client.get(path).status_code == 200
