"""Logs of pods that were deleted, and of past times."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.core.errors import NotFound
from app.pods.logs import LogOptions, Logs
from app.runtimes import LogLine
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import on_sqlite_alone, put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod

pytestmark = on_sqlite_alone
FAIL = "synthetic.virtual-kubelet.io/fail"
SCRIPTED = "tests.app.runtimes.scripted:ScriptedRuntime"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="1s")


def logs_of(app: Flask) -> Logs:
    return services_of(app).logs


def past(app: Flask, pod: dict[str, Any], **more: Any) -> str:
    return b"".join(logs_of(app).read_past(pod["metadata"]["uid"], "web", LogOptions(), **more)).decode()


def test_a_deleted_pod_keeps_its_simulated_log(app: Flask, client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod())
    clock.advance(10)
    client.delete("/deletePod", json=pod)
    clock.advance(3600)

    assert "started at" in past(app, pod)
    assert past(app, pod).endswith("exited with code 0 at 2026-11-22T08:46:48Z\n")


def test_a_past_log_is_that_of_the_run(app: Flask, client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod(metadata={"annotations": {FAIL: "CrashLoopBackOff"}}))
    clock.advance(5)
    then = clock()
    clock.advance(3600)

    first = past(app, pod, at=then)

    assert "started at 2026-11-22T08:46:39Z" in first
    assert "exited" not in first
    assert "started at 2026-11-22T08:46:39Z" not in past(app, pod)


def test_lines_after_the_time_are_left_out(make_app: MakeApp, clock: Clock) -> None:
    ScriptedRuntime.play()
    start = clock()
    ScriptedRuntime.lines = [LogLine(start + timedelta(seconds=n), b"line %d" % n) for n in range(5)]
    app = make_app(runtime=SCRIPTED)
    pod = put_on(app.test_client(), a_pod())
    clock.advance(60)

    assert past(app, pod, at=start + timedelta(seconds=2)) == "line 0\nline 1\nline 2\n"
    with pytest.raises(NotFound, match="has no status of that time"):
        past(app, pod, at=start - timedelta(seconds=1))


def test_parts_of_a_line_are_one_line(make_app: MakeApp, clock: Clock) -> None:
    ScriptedRuntime.play()
    texts = [("one ", False), ("line", True), ("another", True)]
    ScriptedRuntime.lines = [LogLine(clock(), text.encode(), ends) for text, ends in texts]
    app = make_app(runtime=SCRIPTED)
    put_on(app.test_client(), a_pod())
    clock.advance(60)

    def read(**options: Any) -> str:
        return b"".join(logs_of(app).read("default", "web-0", "web", LogOptions(**options))).decode()

    assert read() == "one line\nanother\n"
    assert [line.partition(" ")[2] for line in read(timestamps=True).splitlines()] == ["one line", "another"]


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (timedelta(0), "removed with the pod, at 2026-11-22T08:46:38Z"),
        (timedelta(minutes=10), "removed with the pod 10m after its deletion, at 2026-11-22T08:56:38Z"),
    ],
)
def test_a_removed_log_is_said_to_be(
    make_app: MakeApp, clock: Clock, monkeypatch: pytest.MonkeyPatch, kept: timedelta, message: str
) -> None:
    ScriptedRuntime.play()
    monkeypatch.setattr(ScriptedRuntime, "keeps_logs", kept)
    app = make_app(runtime=SCRIPTED)
    pod = put_on(app.test_client(), a_pod())
    app.test_client().delete("/deletePod", json=pod)
    clock.advance(kept.total_seconds() - 1)
    if kept:
        assert past(app, pod) == ""
    clock.advance(2)

    with pytest.raises(NotFound, match=message):
        past(app, pod)
