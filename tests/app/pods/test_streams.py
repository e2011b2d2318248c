"""Sessions in pods: what a runtime has opened is closed where a session does not begin."""

import os
import socket

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.runtimes.synthetic.runtime import SyntheticRuntime
from tests.app.web.conftest import on_sqlite_alone, put_on
from tests.conftest import Clock, services_of
from tests.pods import a_pod


@on_sqlite_alone
def test_a_forward_that_fails_closes_its_connection(
    app: Flask, client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_of(app)
    put_on(client, a_pod())
    clock.advance(60)
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)

    def fail(_: int) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(SyntheticRuntime, "port_forward", lambda *_: ours)
    monkeypatch.setattr(os, "dup", fail)
    with pytest.raises(OSError, match="too many open files"):
        services.streams.port_forward("default", "web-0", 80)
    with theirs:
        assert theirs.recv(1) == b"", "the connection is closed"
