"""Gunicorn with the project's configuration: refused starts, stop, reload, connections."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import create_engine, make_url, text

from app.db.revision import head
from tests.app.db.damage import NEWER_FORMAT, overwrite, set_write_version, truncate
from tests.conftest import MakeApp, Serve, services_of
from tests.pods import a_container, a_pod
from tests.postgres import free_port
from tests.server import CLEAN, ROOT, Client, Server
from tests.waiting import booted, eventually, together

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def refusal(database_url: str, **settings: str) -> str:
    """Start gunicorn, which must fail, and return its only line of output."""
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env={**CLEAN, "LOG_LEVEL": "WARNING", "PORT": str(free_port()), "DATABASE_URL": database_url, **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.rstrip("\n")


def set_revision(database_url: str, revision: str) -> None:
    engine = create_engine(make_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


@pytest.mark.parametrize(
    ("database_kind", "revision"),
    [
        pytest.param("sqlite", "0000", id="sqlite-an_older_version"),
        pytest.param("postgresql", "9999", id="postgresql-a_newer_version"),
    ],
    indirect=["database_kind"],
)
def test_it_refuses_to_serve_the_database_of(database_url: str, revision: str) -> None:
    set_revision(database_url, revision)
    line = refusal(database_url)
    assert f"at revision {revision}, this version needs {head()}" in line
    assert "vkweb migrate" in line


def test_it_refuses_to_serve_a_database_without_tables(empty_database_url: str) -> None:
    if empty_database_url.startswith("sqlite"):
        file = Path(make_url(empty_database_url).database or "")
        file.parent.mkdir()
        file.touch()
    line = refusal(empty_database_url)
    assert line.startswith("the database is empty")
    assert "vkweb migrate" in line


@ON_SQLITE
def test_a_missing_database_file_stops_the_start(empty_database_url: str) -> None:
    file = Path(make_url(empty_database_url).database or "")
    assert refusal(empty_database_url) == f"there is no database at {file}: run `vkweb migrate`"
    assert not file.parent.exists()


def make_read_only(file: Path) -> None:
    set_write_version(file, NEWER_FORMAT)


@ON_SQLITE
@pytest.mark.parametrize(
    ("damage", "line"),
    [
        pytest.param(overwrite, "the database file is not an SQLite database", id="no_database"),
        pytest.param(truncate, "the database file is damaged", id="a_file_cut_short"),
        pytest.param(make_read_only, "the database is read-only", id="a_read_only_file"),
    ],
)
def test_an_unusable_database_stops_the_start(
    database_url: str, damage: Callable[[Path], None], line: str
) -> None:
    file = Path(make_url(database_url).database or "")
    damage(file)
    before = file.read_bytes()
    assert refusal(database_url) == line
    assert file.read_bytes() == before


@ON_SQLITE
def test_it_refuses_to_share_a_port(server: Server, database_url: str) -> None:
    line = refusal(database_url, PORT=str(server.port))
    assert line == f"cannot listen on 127.0.0.1:{server.port}: Address already in use"


@ON_SQLITE
def test_an_unusable_runtime_stops_the_start(database_url: str) -> None:
    assert refusal(database_url, RUNTIME="foo:Bar") == "RUNTIME: No module named 'foo'"


@ON_SQLITE
def test_the_start_logs_addresses_and_changed_settings(serve: Serve, database_url: str) -> None:
    with serve(NODE_NAME="n", WORKERS="2") as server:
        lines = server.log_lines()
    url = f"http://127.0.0.1:{server.port}"
    (listening,) = [line for line in lines if line["event"] == "listening"]
    assert {name: listening[name] for name in ("url", "dashboard", "database")} == {
        "url": f"{url}/",
        "dashboard": f"{url}/ui/",
        "database": database_url,
    }
    (settings,) = [line for line in lines if line["event"] == "settings"]
    assert (settings["PORT"], settings["NODE_NAME"]) == (str(server.port), "n")
    assert not {"THREADS", "PROVIDER_TOKEN"} & settings.keys()
    assert not any(line["event"].startswith("Listening") for line in lines)


def test_another_revision_stops_service(make_app: MakeApp, database_url: str) -> None:
    app = make_app()
    client = app.test_client()
    assert client.get("/readyz").status_code == 200

    set_revision(database_url, "9999")
    assert client.get("/readyz").status_code == 503
    services_of(app).database.dispose()
    assert "vkweb migrate" in client.get("/readyz").get_json()["error"]["message"]
    for answer in every_contract_path(client):
        assert answer == "503 Service Unavailable"
    for path in ("/healthz", "/", "/capacity", "/nodeConditions", "/nodeAddresses"):
        assert client.get(path).status_code == 200

    set_revision(database_url, head())
    assert client.get("/readyz").status_code == 200
    assert client.post("/createPod", json=a_pod()).status_code == 200


def every_contract_path(client: FlaskClient) -> list[str]:
    named = {"namespace": "default", "name": "web-0"}
    container = {"namespace": "default", "podName": "web-0", "containerName": "web"}
    return [
        client.get("/getPods").status,
        client.get("/getPod", query_string=named).status,
        client.get("/getPodStatus", query_string=named).status,
        client.get("/getContainerLogs", query_string=container).status,
        client.post("/createPod", json=a_pod()).status,
        client.put("/updatePod", json=a_pod()).status,
        client.delete("/deletePod", json=a_pod()).status,
    ]


PODS = 240
"""The number of pods: more than are read from the database at once."""


@contextmanager
def a_slow_reader(server: Server) -> Iterator[HTTPResponse]:
    """Request more than all buffers hold, and read only the beginning of the response."""
    with closing(server.client()) as client:
        for number in range(PODS):
            pod = a_pod(f"pod-{number:03}", containers=[a_container(args=["x" * 24_000])])
            assert client.request("POST", "/createPod", pod).code == 200
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"GET /getPods HTTP/1.1\r\nHost: provider\r\n\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        with closing(HTTPResponse(connection)) as response:
            response.begin()
            yield response


def names(response: HTTPResponse) -> list[str]:
    return [pod["metadata"]["name"] for pod in json.loads(response.read())]


ALL_NAMES = [f"pod-{number:03}" for number in range(PODS)]


def events(server: Server) -> list[str]:
    return [entry["event"] for entry in server.log_lines()]


def count_of(server: Server, beginning: str) -> int:
    return sum(event.startswith(beginning) for event in events(server))


def test_sigterm_finishes_open_requests(serve: Serve) -> None:
    with serve(WORKERS="2") as server, closing(server.client()) as idle:
        assert idle.get("/healthz").code == 200
        with a_slow_reader(server) as response:
            server.signal(signal.SIGTERM)
            eventually(lambda: "Handling signal: term" in events(server))
            assert names(response) == ALL_NAMES
        assert server.process.wait(40) == 0
        # A worker that is killed after the grace period does not log this.
        assert count_of(server, "Worker exiting") == 2
    assert "error" not in {entry["level"] for entry in server.log_lines()}


@ON_SQLITE
def test_a_worker_without_its_master_answers_long_polls(serve: Serve) -> None:
    with serve(WORKERS="1") as server, closing(server.client()) as client:
        (worker,) = booted(server, 1)
        assert client.request("POST", "/createPod", a_pod("web")).code == 200
        revision = client.get("/podStatuses", since=0).json()["revision"]
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=40)) as waiting:
            waiting.request("GET", f"/podStatuses?since={revision}&wait=60")
            assert client.get("/healthz").code == 200
            os.kill(server.process.pid, signal.SIGKILL)
            assert waiting.getresponse().status == 200
        eventually(lambda: not Path(f"/proc/{worker}").exists())


@ON_SQLITE
def test_sighup_replaces_the_workers_while_everybody_is_served(serve: Serve) -> None:
    with serve(WORKERS="2") as server:
        old = booted(server, 2)
        with a_slow_reader(server) as response:
            server.signal(signal.SIGHUP)
            new = booted(server, 4)[2:]
            assert set(new).isdisjoint(old)

            def fetch(_: int) -> list[int]:
                answers = []
                for _ in range(4):
                    with closing(Client(server.port, timeout=30)) as client:
                        answers.append(client.get("/getPodStatus", namespace="default", name="pod-000").code)
                return answers

            assert together(8, fetch) == [[200] * 4] * 8
            assert names(response) == ALL_NAMES
        eventually(lambda: count_of(server, "Worker exiting") == 2)
        assert "Handling signal: hup" in events(server)
        assert server.stop() == 0


_OBSERVED = """
import runpy, sys

globals().update(runpy.run_path("gunicorn.conf.py"))

def when_ready(server):
    server.log.info("created: %s", "wsgi" in sys.modules)
"""
_RUNTIME = """
from app.runtimes.synthetic import SyntheticRuntime

class Runtime(SyntheticRuntime):
    def capacity(self):
        return {"pods": "PODS"}
"""


@ON_SQLITE
@pytest.mark.parametrize("is_default", [True, False])
def test_the_default_runtimes_application_is_shared(serve: Serve, tmp_path: Path, is_default: bool) -> None:
    (tmp_path / "own.py").write_text(_RUNTIME)
    (tmp_path / "observed.py").write_text(_OBSERVED)
    settings = {} if is_default else {"RUNTIME": "own:Runtime"}
    arguments = f"--config={tmp_path}/observed.py --pythonpath={tmp_path}"
    with serve(GUNICORN_CMD_ARGS=arguments, **settings) as server:
        assert f"created: {is_default}" in events(server)


@ON_SQLITE
def test_sighup_imports_a_users_runtime_again(serve: Serve, tmp_path: Path) -> None:
    runtime = tmp_path / "own.py"

    def capacity() -> object:
        # The only worker may stop before its successor listens.
        with suppress(ConnectionError), closing(server.client()) as client:
            return client.get("/capacity").json()
        return None

    runtime.write_text(_RUNTIME.replace("PODS", "5"))
    with serve(RUNTIME="own:Runtime", GUNICORN_CMD_ARGS=f"--pythonpath={tmp_path}", WORKERS="1") as server:
        assert capacity() == {"pods": "5"}
        runtime.write_text(_RUNTIME.replace("PODS", "1000"))
        server.signal(signal.SIGHUP)
        eventually(lambda: capacity() == {"pods": "1000"})


@ON_SQLITE
def test_a_connection_is_kept_while_it_is_idle(server: Server) -> None:
    def fetch(connection: HTTPConnection) -> tuple[int, socket.socket]:
        connection.request("GET", "/healthz")
        with connection.getresponse() as response:
            response.read()
            return response.status, connection.sock

    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as idle:
        before = fetch(idle)
        for _ in range(20):
            with closing(server.client()) as other:
                assert other.get("/getPods").code == 200
        assert fetch(idle) == before


def test_timeouts_fit_go_clients_and_kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(CLEAN):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # otherwise it would create one
    config = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    assert config["keepalive"] >= 75
    assert config["graceful_timeout"] < 30


def test_only_workers_open_the_database(serve: Serve, database_url: str) -> None:
    with serve(WORKERS="2") as server:
        with closing(server.client()) as client:
            assert client.request("POST", "/createPod", a_pod()).code == 200
            served_by = [pid for pid in booted(server, 2) if opened(pid, database_url)]
        assert served_by
        assert opened(server.process.pid, database_url) == []


def opened(pid: int, database_url: str) -> list[str]:
    """Return the database files that a process has open, or its connections to PostgreSQL."""
    found = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    url = make_url(database_url)
    if url.port is None:
        return [target for target in found if target.startswith(str(url.database))]
    sockets = {
        f"socket:[{fields[9]}]"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if int((fields := line.split())[2].partition(":")[2], 16) == url.port
    }
    return [target for target in found if target in sockets]


_COLLECTION = """
import gc, os, runpy
from pathlib import Path

config = runpy.run_path("gunicorn.conf.py")
inherited = [{} for _ in range(100_000)]  # 6 MB
config["when_ready"](None)
if os.fork() == 0:
    smaps = Path("/proc/self/smaps_rollup")
    before = smaps.read_text()
    gc.collect()
    private = [int(text.split("Private_Dirty:")[1].split()[0]) for text in (before, smaps.read_text())]
    os._exit(private[1] - private[0] > 3000)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_collection_in_a_worker_copies_no_inherited_memory() -> None:
    assert subprocess.run([sys.executable, "-c", _COLLECTION], cwd=ROOT, env=CLEAN, check=False).returncode == 0
