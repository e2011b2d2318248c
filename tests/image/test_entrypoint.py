"""The image: the subcommands of vkweb as its entry points, their signals, and the pinned libraries."""

import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority
from tests.broker.kubeconfig import write_kubeconfig
from tests.broker.waiting import eventually as eventually_in_a_loop
from tests.image.conftest import DOCKERFILE, Image, copied
from tests.postgres import free_port
from tests.server import ROOT, Client
from tests.waiting import eventually


def command_of(process: subprocess.Popen[bytes]) -> list[str]:
    """Return the command line of a process."""
    return Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")


def answers(port: int) -> bool:
    with closing(Client(port)) as client:
        try:
            return client.get("/readyz").code == 200
        except OSError:
            return False


def test_the_provider_migrates_then_serves_until_sigterm(image: Image, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"sqlite:///{tmp_path}/provider/provider.db"
    with image.running("provider", "--workers=1", log=log, PORT=str(port), DATABASE_URL=url) as process:
        assert eventually(lambda: process.poll() is not None or answers(port))
        assert command_of(process)[-3:-1] == ["provider", "--workers=1"], log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert "the database is at" in log.read_text()


def test_migrate_prints_the_revision(image: Image, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/provider/provider.db"
    for _ in range(2):
        done = image.run("migrate", DATABASE_URL=url)
        assert (done.returncode, done.stdout.startswith("the database is at ")) == (0, True), done.stderr


def test_a_failed_migration_prevents_the_start(image: Image, tmp_path: Path) -> None:
    (tmp_path / "provider.db").write_text("not a database, and long enough to be none: " + "." * 1000)
    done = image.run("provider", DATABASE_URL=f"sqlite:///{tmp_path}/provider.db", PORT=str(free_port()))
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr


@pytest.mark.parametrize("command", ["migrate", "provider"])
def test_sigterm_ends_a_migration_that_hangs(image: Image, tmp_path: Path, command: str) -> None:
    path = tmp_path / "provider.db"

    def exit_status() -> int:
        with image.running(command, log=tmp_path / "log", DATABASE_URL=f"sqlite:///{path}") as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            eventually(children.read_text)
            process.send_signal(signal.SIGTERM)
            return process.wait(40)

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # the migration waits for its end
        # It waits for seconds, and ends by itself if a busy machine sends the signal later.
        assert 128 + signal.SIGTERM in (exit_status() for _ in range(3))


async def test_the_broker_runs_a_node_until_sigterm(
    image: Image, tmp_path: Path, api: ApiServer, authority: Authority
) -> None:
    environment = {
        "KUBECONFIG": str(write_kubeconfig(tmp_path / "kubeconfig", api, authority)),
        "NODE_NAME": "node",
        "WEB_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "KUBELET_HOST": "127.0.0.1",
        "VKUBELET_POD_IP": "127.0.0.1",
    }
    with image.running("broker", "--kubelet-port=0", log=tmp_path / "log", **environment) as process:
        node = await api.until(lambda: api.store.find("nodes", "node"))
        conditions = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
        assert conditions["Ready"] == "False"  # there is no provider
        assert command_of(process)[-3:-1] == ["broker", "--kubelet-port=0"]
        process.send_signal(signal.SIGTERM)
        assert await eventually_in_a_loop(lambda: process.poll() is not None)
        assert process.returncode == 0, (tmp_path / "log").read_text()
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events[-1] == "stopped"


@pytest.mark.parametrize("arguments", [[], ["bash"], ["gunicorn"]])
def test_other_arguments_print_the_usage(image: Image, arguments: list[str]) -> None:
    done = image.run(*arguments)
    assert (done.returncode, done.stderr.split()[:2]) == (2, ["Usage:", "vkweb"])


@pytest.mark.parametrize("command", ["audit", "conformance", "node", "pods"])
def test_every_subcommand_works_in_the_image(image: Image, command: str) -> None:
    done = image.run(command, "--help")
    assert (done.returncode, "usage: " in done.stdout.lower()) == (0, True), done.stderr


def test_the_image_contains_the_pinned_libraries_only(image: Image) -> None:
    (packages,) = image.venv.glob("lib/python*/site-packages")
    assert (packages / "flask").exists()
    assert not (packages / "pytest").exists()
    assert not (image.venv / "bin" / "pip").exists()
    assert "--require-hashes -r requirements.txt" in DOCKERFILE


def test_the_build_context_is_what_is_copied() -> None:
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert allowed == set(copied())


def test_the_image_has_no_root_and_no_healthcheck() -> None:
    instructions = [line.split()[0] for line in DOCKERFILE.splitlines() if line[:1].isupper()]
    assert "USER 65532:65532" in DOCKERFILE
    assert "HEALTHCHECK" not in instructions
    assert instructions.count("FROM") == 2
