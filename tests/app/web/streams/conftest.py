"""A provider whose commands are programs on this machine, and its streams."""

from collections.abc import Callable, Iterator

import pytest

from tests.app.web.conftest import Share
from tests.pods import a_pod
from tests.server import Server
from tests.streams import CONTAINER, Stream

RUNTIME = "tests.app.web.streams.shell_runtime:ShellRuntime"

Exec = Callable[..., Stream]


@pytest.fixture(scope="package")
def shell(share: Share) -> Iterator[Server]:
    """Yield a provider with one worker of two threads, and a pod `web-0`."""
    with share(RUNTIME=RUNTIME, WORKERS="1", THREADS="2", STREAM_SESSIONS="20") as server:
        create(server)
        yield server


def create(server: Server) -> None:
    client = server.client()
    assert client.request("POST", "/createPod", a_pod()).code == 200
    client.close()


def query(*command: str, streams: str = "stdin stdout stderr") -> list[tuple[str, object]]:
    """Return the query of an exec with some streams."""
    words = [("command", word) for word in command]
    return [*CONTAINER, *words, *((stream, "true") for stream in streams.split())]


def open_exec(server: Server, *command: str, streams: str = "stdin stdout stderr") -> Stream:
    return Stream(server.port, "/exec", query(*command, streams=streams))
