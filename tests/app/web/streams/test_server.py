"""Streams beside requests: the limit, a reload and a stop."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event

import pytest
from websockets.exceptions import InvalidStatus

from app.runtimes import StreamOptions, start_command
from app.web.streams.server import StreamServer, Upgrade
from tests.app.web.conftest import Share
from tests.app.web.streams.conftest import RUNTIME, create, open_exec, query
from tests.server import Server
from tests.streams import STATUS, Stream, refusal
from tests.waiting import booted, eventually, is_alive


@pytest.fixture
def brief(share: Share) -> Iterator[Server]:
    """Yield a provider with a grace period of 3 s."""
    with share(RUNTIME=RUNTIME, WORKERS="1", GUNICORN_CMD_ARGS="--graceful-timeout 3") as server:
        create(server)
        yield server


def test_streams_do_not_hold_request_threads(shell: Server) -> None:
    with ExitStack() as stack:
        for _ in range(10):  # the provider has two threads
            stack.enter_context(open_exec(shell, "cat"))
        client = shell.client()
        assert client.get("/getPods").code == 200
        client.close()


def test_more_streams_than_allowed_are_refused(shell: Server) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(open_exec(shell, "cat")) for _ in range(20)]
        refused = refusal(shell.port, "/exec", query("cat"))
        assert (refused.code, refused.error["message"]) == (
            503,
            "too many streams are open; STREAM_SESSIONS sets the limit",
        )
        streams[0].end_input()
        assert streams[0].finish() == (b"", b"", 0)
        stack.enter_context(eventually(lambda: opened(shell)))


def opened(server: Server) -> Stream | None:
    try:
        return open_exec(server, "cat")
    except InvalidStatus:
        return None


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_streams_after_the_grace(brief: Server, signal_: signal.Signals) -> None:
    with open_exec(brief, "sh", "-c", "echo $$; while read line; do echo $line; done") as stream:
        pid = int(stream.read_until(b"\n"))
        brief.signal(signal_)
        if signal_ == signal.SIGHUP:
            booted(brief, 2)
        stream.send(b"still here\n")
        assert stream.read_until(b"\n") == b"still here\n"
        status = json.loads(stream.read_all()[STATUS])
        assert (status["status"], status["message"]) == ("Failure", "the provider stops")
        eventually(lambda: not is_alive(pid))


def test_a_stream_that_starts_during_a_stop_fails() -> None:
    server, ended = StreamServer(1), Event()
    server.reserve()
    server.stop(after=0)
    session = start_command(["sleep", "60"], StreamOptions(stdout=True))
    ours, theirs = socket.socketpair()
    with ours:
        Upgrade(server, session, lambda _: None, half_close=False).start(theirs, ended.set)
        ours.settimeout(30)
        assert b'"message":"the provider stops"' in ours.recv(1000)
    assert ended.wait(30)


def test_a_stop_without_streams_does_not_wait(brief: Server) -> None:
    with open_exec(brief, "true") as stream:
        assert stream.finish() == (b"", b"", 0)
    assert brief.stop() == 0


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGQUIT])
def test_ctrl_c_ends_streams_without_a_grace(brief: Server, signal_: signal.Signals) -> None:
    with open_exec(brief, "sh", "-c", "echo $$; exec sleep 60") as stream:
        pid = int(stream.read_until(b"\n"))
        brief.signal(signal_)
        status = json.loads(stream.read_all()[STATUS])
        assert (status["status"], status["message"]) == ("Failure", "the provider stops")
        eventually(lambda: not is_alive(pid))
