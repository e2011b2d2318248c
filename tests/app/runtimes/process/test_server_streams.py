"""Streams of processes through the real server: a client's input, and a server that is killed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.runtimes.process import processes, shell
from tests.conftest import Serve
from tests.pods import a_pod
from tests.server import Server
from tests.streams import CONTAINER, Stream
from tests.waiting import eventually

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])

ALL_STREAMS = [("stdin", "true"), ("stdout", "true"), ("stderr", "true")]


@pytest.fixture
def server(serve: Serve, root: Path) -> Iterator[Server]:
    """Run the provider with a pod that reads lines."""
    with serve(RUNTIME="app.runtimes.process:ProcessRuntime", RUNTIME_DIRECTORY=str(root)) as server:
        pod = a_pod(containers=[shell("while read line; do echo got $line; done", stdin=True)])
        with closing(server.client()) as client:
            assert client.request("POST", "/createPod", pod).code == 200
            eventually(
                lambda: client.get("/getPodStatus", namespace="default", name="web-0").json()["phase"] == "Running"
            )
        yield server


def test_a_client_is_detached_at_the_end_of_input(server: Server) -> None:
    for _ in range(2):
        with Stream(server.port, "/attach", [*CONTAINER, *ALL_STREAMS]) as stream:
            stream.send(b"one\n")
            assert stream.read_until(b"\n") == b"got one\n"
            stream.end_input()
            assert stream.finish() == (b"", b"", 0)


def test_a_killed_server_leaves_no_command(server: Server, root: Path) -> None:
    script = [("command", "sh"), ("command", "-c"), ("command", "echo ready; exec sleep 3600")]
    with Stream(server.port, "/exec", [*CONTAINER, *ALL_STREAMS, *script]) as stream:
        stream.read_until(b"ready\n")
        assert len(processes(str(root))) == 2
        server.kill()
        eventually(lambda: len(processes(str(root))) == 1)
