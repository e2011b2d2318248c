"""Lifecycle hooks of processes."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.app.runtimes.process import Driven, shell
from tests.app.runtimes.process.conftest import Run

FOR_EVER = "while :; do sleep 0.01; done"


def hook(script: str) -> dict[str, Any]:
    return {"exec": {"command": ["/bin/sh", "-c", script]}}


def waiting(pod: Driven) -> str | None:
    state = pod.container().state.waiting
    return state.reason if state else None


def test_a_container_waits_until_its_hook_has_ended(run: Run, tmp_path: Path) -> None:
    post_start = hook(f"echo $GREETING > {tmp_path}/greeting; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done")
    env = [{"name": "GREETING", "value": "hello"}]
    pod = run(shell("echo begun; exec sleep 60", env=env, lifecycle={"postStart": post_start}))
    pod.until_logged(b"begun")
    assert (pod.read().phase, waiting(pod)) == ("Pending", "ContainerCreating")
    (tmp_path / "go").touch()
    pod.until_running()
    assert (tmp_path / "greeting").read_text() == "hello\n"
    assert pod.container().restart_count == 0


@pytest.mark.parametrize("code", [0, 1])
def test_later_containers_wait_for_a_hook(run: Run, tmp_path: Path, code: int) -> None:
    post_start = hook(
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo hook >> {tmp_path}/steps; exit {code}"
    )
    pod = run(
        shell(f"echo web >> {tmp_path}/steps; exec sleep 60", lifecycle={"postStart": post_start}),
        shell(f"echo app >> {tmp_path}/steps; exec sleep 60", name="app"),
        shell("exec sleep 60", name="last"),
        restartPolicy="Never",
    )
    pod.until(lambda _: (tmp_path / "steps").exists())
    pod.change(ephemeralContainers=[shell(f"echo debug >> {tmp_path}/steps", name="debug")])
    pod.until(lambda _: pod.container("debug").state.terminated)
    assert [pod.container(name).state.running for name in ("app", "last")] == [None, None]
    (tmp_path / "go").touch()
    pod.until(lambda _: pod.container("app").state.running and pod.container("last").state.running)
    assert (tmp_path / "steps").read_text().split()[:3] == ["web", "debug", "hook"]


@pytest.mark.parametrize(
    "handler", [hook("exit 1"), {"exec": {"command": ["/no/such"]}}, {"tcpSocket": {"port": 1}}]
)
def test_a_failed_hook_restarts_the_container(run: Run, handler: dict[str, Any]) -> None:
    pod = run(shell("exec sleep 60", lifecycle={"postStart": handler}))
    pod.until(lambda _: waiting(pod) == "PostStartHookError" and pod.container().restart_count >= 1)
    last = pod.container().last_state.terminated
    assert last
    assert last.exit_code == 143
    assert not any(status.phase == "Running" and status.container_statuses[0].ready for _, status in pod.timeline)


def test_a_failed_hook_without_restart_fails_the_pod(run: Run) -> None:
    pod = run(shell("exec sleep 60", lifecycle={"postStart": hook("exit 1")}), restartPolicy="Never")
    assert pod.until_over().phase == "Failed"
    assert pod.ended() == (143, "Error")


@pytest.mark.parametrize("code", [0, 1])
def test_a_pre_stop_hook_runs_before_sigterm(run: Run, tmp_path: Path, code: int) -> None:
    script = f"trap 'echo term >> {tmp_path}/steps; exit 7' TERM; echo ready; {FOR_EVER}"
    pod = run(shell(script, lifecycle={"preStop": hook(f"echo hook >> {tmp_path}/steps; exit {code}")}))
    pod.until_logged(b"ready")
    pod.delete()
    pod.until_over()
    assert (tmp_path / "steps").read_text().split() == ["hook", "term"]
    assert pod.ended() == (7, "Error")


@pytest.mark.parametrize("seconds", [99, 2**63 - 1])
def test_an_endless_pre_stop_hook_ends_with_the_grace(run: Run, seconds: int) -> None:
    hook = {"sleep": {"seconds": seconds}}
    pod = run(shell(f"trap 'exit 7' TERM; echo ready; {FOR_EVER}", lifecycle={"preStop": hook}))
    pod.until_logged(b"ready")
    pod.delete(grace=0.2)
    pod.until_over()
    assert pod.ended() == (7, "Error")


def test_an_http_hook_sends_its_request(run: Run) -> None:
    received: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append((self.path, self.headers["X-Greeting"]))
            self.send_response(500)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        action = {
            "host": "127.0.0.1",
            "port": "web",
            "path": "/begin?now=1",
            "httpHeaders": [{"name": "X-Greeting", "value": "hello"}],
        }
        ports = [{"name": "web", "containerPort": server.server_port}]
        pod = run(shell("exec sleep 60", ports=ports, lifecycle={"postStart": {"httpGet": action}}))
        pod.until_running()
        server.shutdown()
    assert received == [("/begin?now=1", "hello")]
