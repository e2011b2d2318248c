"""`vkweb provider`: its processes, and how it stops."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.pods import a_pod
from tests.postgres import free_port
from tests.preloaded import Program
from tests.server import CLEAN, ROOT, Client
from tests.vkweb.installed import is_ready
from tests.waiting import eventually

Provider = tuple[Program, Client]
Provide = Callable[..., AbstractContextManager[Provider]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

_RUNTIME = """
from app.runtimes.synthetic import SyntheticRuntime

class Runtime(SyntheticRuntime):
    pass
"""

_BOTH = """
import signal, sys, threading
sys.path.insert(0, {root!r})
from vkweb.server import serve
from app.web.worker import Worker

run_, stopped = Worker.run, threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())

def run(worker):
    {run}

def program():
    stopped.wait()
    return {status}

Worker.run = run
serve([], program=program)
"""


@pytest.fixture
def provide(tmp_path: Path) -> Provide:
    """Return a context manager: `vkweb provider` with settings, and a client."""

    @contextmanager
    def run(**settings: str) -> Iterator[Provider]:
        port = int(settings.get("PORT") or free_port())
        environment = {**CLEAN, "LOG_FORMAT": "json", **settings, "PORT": str(port)}
        with open(os.devnull, "rb") as nothing, (tmp_path / "log").open("w+b") as log:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            process = Program(
                str(ROOT / "vkweb"), "provider", cwd=tmp_path, environment=environment, streams=streams
            )
            try:
                assert eventually(lambda: process.poll() is not None or is_ready(port), seconds=60)
                assert process.poll() is None, (tmp_path / "log").read_text()
                with closing(Client(port)) as client:
                    yield process, client
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(40)

    return run


def children_of(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]


@pytest.mark.parametrize(
    ("settings", "workers"),
    [({"WORKERS": "1"}, 0), ({"WORKERS": "2"}, 2), ({"WORKERS": "1", "RUNTIME": "own:Runtime"}, 1)],
    ids=["one_worker", "two_workers", "a_users_runtime"],
)
def test_one_worker_is_the_only_process(
    provide: Provide, tmp_path: Path, settings: dict[str, str], workers: int
) -> None:
    (tmp_path / "own.py").write_text(_RUNTIME)
    with provide(**settings) as (process, client):
        assert client.request("POST", "/createPod", a_pod("web")).code == 200
        assert client.get("/metrics").code == 200
        assert eventually(lambda: len(children_of(process.pid)) == workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_of_the_log_fails_no_request(provide: Provide, tmp_path: Path, workers: int) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    with provide(WORKERS=str(workers)) as (process, client):
        assert client.request("POST", "/createPod", a_pod("web")).code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


@contextmanager
def held_request(provide: Provide) -> Iterator[tuple[Program, HTTPConnection]]:
    """Yield a process that holds a long poll, and the connection of its client."""
    port = free_port()
    with provide(WORKERS="1", PORT=str(port)) as (process, client):
        revision = client.get("/podStatuses", since=0).json()["revision"]
        with closing(HTTPConnection("127.0.0.1", port, timeout=40)) as waiting:
            waiting.request("GET", f"/podStatuses?since={revision}&wait=60")
            assert client.get("/healthz").code == 200
            yield process, waiting


def test_the_only_process_stops_while_a_request_is_held(provide: Provide) -> None:
    with held_request(provide) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_the_only_process_answers_long_polls_when_it_stops(provide: Provide) -> None:
    with held_request(provide) as (process, waiting):
        process.send_signal(signal.SIGTERM)
        assert waiting.getresponse().status == 200
        waiting.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(("failure", "status"), [("", 3), ("raise OSError('no more files')", 1)])
def test_a_program_beside_the_only_worker_ends_with_it(tmp_path: Path, failure: str, status: int) -> None:
    port = free_port()
    environment = {**CLEAN, "LOG_FORMAT": "json", "PORT": str(port), "WORKERS": "1"}
    script = tmp_path / "both.py"
    run = failure or "run_(worker)"
    script.write_text(_BOTH.format(root=str(ROOT), run=run, status=0 if failure else status))
    with open(os.devnull, "rb") as nothing, (tmp_path / "log").open("w+b") as log:
        streams = (nothing.fileno(), log.fileno(), log.fileno())
        for program, arguments in ((str(ROOT / "vkweb"), ["migrate"]), (str(script), [])):
            process = Program(program, *arguments, cwd=tmp_path, environment=environment, streams=streams)
            if arguments:
                assert process.wait(60) == 0
        if not failure:
            assert eventually(lambda: is_ready(port), seconds=60)
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == status
    assert ("no more files" in (tmp_path / "log").read_text()) == bool(failure)


def test_the_only_process_stays_at_sighup(provide: Provide) -> None:
    with provide(WORKERS="1") as (process, client):
        process.send_signal(signal.SIGHUP)
        assert client.get("/capacity").code == 200
        assert process.poll() is None
