"""The runtime and the commands of `docs/writing-a-runtime.md` work as described."""

import dataclasses
import json
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import runtimes
from app.db.engine import Database
from app.db.models import Pod, PodStatus
from tests.conftest import Serve
from tests.documents import FILE, page
from tests.pods import a_pod
from tests.server import Client
from tests.streams import Stream

PAGE = page("docs/writing-a-runtime.md")
((NAME, SOURCE),) = FILE.findall(PAGE)
STREAMS = re.compile(r"^```python\n(def attach.*?)```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / NAME).write_text(SOURCE)
    return {
        "PYTHONPATH": str(tmp_path),
        "RUNTIME": "queue_runtime:QueueRuntime",
        "RUNTIME_DIRECTORY": str(tmp_path / "data" / "queue"),
    }


def job(tmp_path: Path) -> Path:
    (directory,) = (tmp_path / "data" / "queue").iterdir()
    return directory


def phases(client: Client, database: Database) -> list[str]:
    client.get("/getPods")  # a read advances timelines
    with database.read() as connection:
        return list(connection.scalars(select(PodStatus.phase).join(Pod).order_by(PodStatus.effective_at)))


def test_a_job_cancelled_before_its_start_has_failed(
    serve: Serve, settings: dict[str, str], tmp_path: Path, database: Database
) -> None:
    pod = a_pod()
    with serve(**settings) as server:
        client = server.client()
        client.request("POST", "/createPod", pod)
        client.request("DELETE", "/deletePod", pod)
        assert (job(tmp_path) / "cancel").exists()
        assert phases(client, database) == ["Pending", "Failed"]
        client.close()


def test_a_running_job_keeps_its_own_exit(
    serve: Serve, settings: dict[str, str], tmp_path: Path, database: Database
) -> None:
    pod = a_pod()
    with serve(**settings) as server:
        client = server.client()
        client.request("POST", "/createPod", pod)
        (job(tmp_path) / "started").touch()
        client.request("DELETE", "/deletePod", pod)
        assert phases(client, database) == ["Pending", "Running"]
        (job(tmp_path) / "exit").write_text("3")
        assert phases(client, database) == ["Pending", "Running", "Failed"]
        client.close()


def test_a_job_has_its_words_and_its_environment(serve: Serve, settings: dict[str, str], tmp_path: Path) -> None:
    container = {"name": "web", "command": ["greet"], "args": ["$(WHO)"], "env": [{"name": "WHO", "value": "all"}]}
    with serve(**settings) as server, closing(server.client()) as client:
        client.request("POST", "/createPod", a_pod(containers=[container]))
        written = json.loads((job(tmp_path) / "job.json").read_text())
    assert written["argv"] == ["greet", "all"]
    assert written["env"] == {"PATH": os.defpath, "HOSTNAME": "web-0", "WHO": "all"}


def test_a_pod_that_is_no_job_is_refused(serve: Serve, settings: dict[str, str]) -> None:
    two = a_pod(containers=[{"name": "one"}, {"name": "two"}])
    with serve(**settings) as server:
        client = server.client()
        answer = client.request("POST", "/createPod", two)
        assert (answer.code, answer.json()["error"]["message"]) == (
            400,
            "spec.containers: a job has one container",
        )
        client.close()


def test_a_command_runs_in_the_directory_of_its_job(
    serve: Serve, settings: dict[str, str], tmp_path: Path
) -> None:
    with serve(**settings) as server:
        with closing(server.client()) as client:
            client.request("POST", "/createPod", a_pod())
        (job(tmp_path) / "started").touch()
        names = [("namespace", "default"), ("podName", "web-0"), ("containerName", "web")]
        command = [("command", word) for word in ("sh", "-c", "pwd; echo $HOSTNAME")]
        with Stream(server.port, "/exec", [*names, *command, ("stdout", "true")]) as stream:
            assert stream.finish() == (f"{job(tmp_path)}\nweb-0\n".encode(), b"", 0)


def test_the_streams_of_another_runtime_work(database_kind: str) -> None:
    """Run the page's functions for a runtime that has a process or a socket."""
    (source,) = STREAMS.findall(PAGE)
    streams: dict[str, Any] = {
        **vars(runtimes),
        "dataclasses": dataclasses,
        "socket": socket,
        "start_command": lambda _, options: runtimes.start_command(["sh", "-c", "echo line; sleep 60"], options),
        "unit": lambda pod: "unit",
        "address": lambda pod: "127.0.0.1",
    }
    exec(source, streams)
    session = streams["attach"](None, None, "web", runtimes.StreamOptions(stdout=True), status=None)
    assert os.read(session.stdout, 100) == b"line\n"
    session.hang_up()
    assert session.wait() == 0
    os.close(session.stdout)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with streams["port_forward"](None, None, port) as connection, listener.accept()[0]:
            assert connection.getpeername() == ("127.0.0.1", port)
    with pytest.raises(runtimes.Unavailable):
        streams["port_forward"](None, None, port)
