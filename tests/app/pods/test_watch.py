"""Waits for changes of pods."""

import select

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.app.web.conftest import put_on
from tests.conftest import services_of
from tests.pods import a_pod


def test_a_wait_sleeps_until_a_write(client: FlaskClient, app: Flask) -> None:
    """The revision is read seldom; a write after the last read of it ends the wait."""
    put_on(client, a_pod("first"))
    watch = services_of(app).watch
    revision = orjson.loads("".join(watch.since(0)))["revision"]
    waits: list[tuple[float, int | None]] = []

    def pause(seconds: float, fd: int | None = None, /) -> bool:
        waits.append((seconds, fd))
        if len(waits) == 3:
            put_on(client, a_pod("second"))
            assert fd is not None
            assert select.select([fd], [], [], 30)[0]
        return True

    found = orjson.loads("".join(watch.since(revision, wait=60, pause=pause)))
    assert [pod["name"] for pod in found["statuses"]] == ["second"]
    assert waits[0][0] > 0.9
    assert len(waits) <= 4


def test_a_burst_is_returned_together(client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pods.watch._SPACING_SECONDS", 60)
    put_on(client, a_pod("first"))
    watch = services_of(app).watch
    revision = orjson.loads("".join(watch.since(0)))["revision"]
    waits = iter(("second", "third"))

    def pause(_: float, __: int | None = None, /) -> bool:
        if name := next(waits, None):
            put_on(client, a_pod(name))
        return True

    found = orjson.loads("".join(watch.since(revision, wait=60, pause=pause)))
    assert sorted(pod["name"] for pod in found["statuses"]) == ["second", "third"]
