"""The options of `kubectl logs`, applied to the lines of a runtime."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.runtimes import LogLine
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp, SharedApp
from tests.pods import a_pod

SCRIPTED = "tests.app.runtimes.scripted:ScriptedRuntime"


@pytest.fixture(autouse=True)
def script(clock: Clock) -> Iterator[type[ScriptedRuntime]]:
    """Return three lines, one per second, the last one of now."""
    ScriptedRuntime.play()
    ScriptedRuntime.lines = [
        LogLine(clock() - timedelta(seconds=2), b"one"),
        LogLine(clock() - timedelta(seconds=1), b"two \xff"),
        LogLine(clock(), b"three"),
    ]
    yield ScriptedRuntime
    ScriptedRuntime.play()


def put_pod(app: Flask, _: Clock) -> None:
    put_on(app.test_client(), a_pod())


@pytest.fixture
def client(shared_app: SharedApp, database_kind: str) -> FlaskClient:
    return shared_app(database_kind, put_pod, runtime=SCRIPTED).test_client()


def logs(client: FlaskClient, **more: object) -> TestResponse:
    query = {"namespace": "default", "podName": "web-0", "containerName": "web", **more}
    return client.get("/getContainerLogs", query_string=query)


def ago(clock: Clock, seconds: float, *, zone: str = "+00:00") -> str:
    time: datetime = clock() - timedelta(seconds=seconds)
    return time.isoformat().replace("+00:00", zone)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, b"one\ntwo \xff\nthree\n"),
        ({"tail": -1}, b"one\ntwo \xff\nthree\n"),
        ({"tail": 0}, b""),
        ({"tail": 2}, b"two \xff\nthree\n"),
        ({"tail": 10**99}, b"one\ntwo \xff\nthree\n"),
        ({"sinceSeconds": 1}, b"two \xff\nthree\n"),
        ({"sinceSeconds": 1, "tail": 1}, b"three\n"),
        ({"limitBytes": 1}, b"o"),
        ({"limitBytes": 6}, b"one\ntw"),
        ({"limitBytes": 1000}, b"one\ntwo \xff\nthree\n"),
        ({"tail": 1, "timestamps": "true"}, b"2026-11-22T08:46:38.123456Z three\n"),
        ({"tail": 1, "timestamps": "false"}, b"three\n"),
        ({"tail": 1, "follow": "true"}, b"three\n"),
    ],
)
def test_options_select_the_returned_lines(client: FlaskClient, query: dict[str, object], text: bytes) -> None:
    answer = logs(client, **query)
    assert (answer.status_code, answer.data) == (200, text)


@pytest.mark.parametrize("zone", ["+00:00", "Z"])
def test_since_time_includes_lines_from_that_time(client: FlaskClient, clock: Clock, zone: str) -> None:
    assert logs(client, sinceTime=ago(clock, 1, zone=zone)).data == b"two \xff\nthree\n"
    assert logs(client, sinceTime=ago(clock, 0.5, zone=zone)).data == b"three\n"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"tail": "x"}, "tail"),
        ({"sinceSeconds": 0}, "sinceSeconds"),
        ({"sinceSeconds": "1.5"}, "sinceSeconds"),
        ({"limitBytes": 0}, "limitBytes"),
        ({"sinceTime": "yesterday"}, "sinceTime"),
        ({"sinceTime": "2026-11-22T08:46:38"}, "sinceTime"),
        ({"timestamps": "perhaps"}, "timestamps"),
        ({"follow": "2"}, "follow"),
        ({"sinceTime": "2026-11-22T08:46:38Z", "sinceSeconds": 1}, "sinceTime"),
    ],
)
def test_an_invalid_option_is_refused_by_name(client: FlaskClient, query: dict[str, object], field: str) -> None:
    answer = logs(client, **query)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["field"] == field


def test_a_missing_previous_run_is_refused(client: FlaskClient) -> None:
    answer = logs(client, previous="true")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["message"] == (
        'previous terminated container "web" in pod "web-0" not found'
    )


def test_without_follow_only_existing_lines_are_returned(
    client: FlaskClient, script: type[ScriptedRuntime], clock: Clock
) -> None:
    script.lines += [None, LogLine(clock(), b"later")]
    assert logs(client, tail=1).data == b"three\n"


def test_following_yields_lines_until_the_container_ends(
    client: FlaskClient, script: type[ScriptedRuntime], clock: Clock
) -> None:
    script.lines += [None, None, LogLine(clock(), b"four"), None, LogLine(clock(), b"five")]
    pieces = [piece for piece in logs(client, tail=1, follow="true").iter_encoded() if piece]
    assert pieces == [b"three\n", b"four\n", b"five\n"], "each at once, and not when there is more"


def test_a_limit_ends_a_followed_log(client: FlaskClient, script: type[ScriptedRuntime], clock: Clock) -> None:
    script.lines += [None, LogLine(clock(), b"four"), None]
    assert logs(client, follow="true", tail=0, limitBytes=2).data == b"fo"


def test_a_deleted_pod_ends_followed_logs(script: type[ScriptedRuntime], clock: Clock, make_app: MakeApp) -> None:
    client, other = (make_app(runtime=SCRIPTED).test_client() for _ in range(2))
    put_on(client, a_pod())

    def delete() -> None:
        other.delete("/deletePod", json={"metadata": {"namespace": "default", "name": "web-0"}})

    script.lines += [None, delete, "status", LogLine(clock(), b"never")]
    assert logs(client, tail=1, follow="true").data == b"three\n"
