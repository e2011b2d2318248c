"""`vkweb` commands that follow changes, as processes: Ctrl-C, a closed pipe, a terminal, completion in a shell."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.web.conftest import Share, share
from tests.pods import a_pod
from tests.server import CLEAN, ROOT, Client, Server

__all__ = ["share"]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def provider_with_pods(share: Share) -> Iterator[Server]:
    """Yield a provider with a pod."""
    with share() as server, closing(server.client()) as client:
        assert client.request("POST", "/createPod", a_pod("web", namespace="shop")).code == 200
        yield server


@pytest.fixture
def start(provider_with_pods: Server) -> Iterator[Start]:
    """Return a function that starts a command on the provider's database."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
        command = subprocess.Popen(
            [sys.executable, ROOT / "vkweb", *arguments],
            env={**CLEAN, "DATABASE_URL": provider_with_pods.settings["DATABASE_URL"], **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(command)
        return command

    yield run
    for command in started:
        command.kill()
        command.communicate()


@pytest.fixture
def client(provider_with_pods: Server) -> Iterator[Client]:
    with closing(provider_with_pods.client()) as client:
        yield client


def read_line(command: subprocess.Popen[str]) -> list[str]:
    assert command.stdout
    return command.stdout.readline().split()


def test_changes_are_printed_until_ctrl_c(start: Start, client: Client) -> None:
    watch = start("pods", "list", "--watch", "-n", "shop")
    assert read_line(watch)[:2] == ["NAMESPACE", "NAME"]
    assert read_line(watch)[1] == "web"
    pod = a_pod("db", namespace="shop")
    assert client.request("POST", "/createPod", pod).code == 200
    assert read_line(watch)[1] == "db"
    assert client.request("DELETE", "/deletePod", pod).code == 200
    while read_line(watch)[:4:2] != ["shop", "0/1"]:
        pass

    watch.send_signal(signal.SIGINT)

    assert watch.wait(30) == 130
    assert watch.stderr
    assert watch.stderr.read() == ""


@pytest.mark.parametrize("command", [["pods", "list", "--watch"], ["pods", "logs", "-f", "shop/web"]])
def test_a_closed_pipe_ends_it_quietly(start: Start, command: list[str]) -> None:
    watch = start(*command)
    assert watch.stdout
    assert watch.stdout.readline()
    watch.stdout.close()

    assert watch.wait(30) in (0, 1)
    assert watch.stderr
    assert watch.stderr.read() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device of Linux")
@pytest.mark.parametrize("command", [["pods", "list", "--json"], ["audit", "export"], ["config"]], ids=" ".join)
def test_a_full_disk_is_an_error_of_one_line(start: Start, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        process = start(*command, stdout=full.fileno())
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "Error: standard output: No space left on device\n")


def test_a_terminal_has_colours(start: Start) -> None:
    terminal, inner = pty.openpty()
    command = start("pods", "list", stdout=inner)
    os.close(inner)
    printed = b""
    try:
        while chunk := os.read(terminal, 4096):
            printed += chunk
    except OSError:  # the command has closed the terminal
        pass
    os.close(terminal)

    assert command.wait(30) == 0
    assert b"\x1b[" in printed


def test_a_shell_completes_pods(start: Start, tmp_path: Path) -> None:
    words = "vkweb pods explain shop/w"
    command = start(_VKWEB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="3")

    assert command.communicate(timeout=60) == ("plain,shop/web\n", "")
