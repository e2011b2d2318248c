"""Options that filter, sort and colour the lists of pods."""

import pytest

from tests.app.audit.recorded import at
from tests.app.cli.conftest import Run, objects, table

ALL = ["tool-0", "slow-0", "web-0-b", "worker-0"]


@pytest.mark.parametrize(
    ("options", "uids"),
    [
        (["--status", "ContainerCreating"], ["tool-0"]),
        (["--status", "Running", "--status", "ContainerCreating"], ALL),
        (["--status", "CrashLoopBackOff", "--at", at(30).isoformat()], ["worker-0"]),
        (["--status", "Pending"], []),
        (["--problem", "crash-loop", "--at", at(30).isoformat()], ["worker-0"]),
        (["--problem", "crash-loop"], []),
        (["-l", "app=web"], ALL),
        (["-l", "app in (web, db), !canary"], ALL),
        (["-l", "app!=web"], []),
        (["-l", "canary"], []),
        (["--sort-by", "-name"], ["worker-0", "web-0-b", "slow-0", "tool-0"]),
        (["--sort-by=age"], ["tool-0", "web-0-b", "slow-0", "worker-0"]),
        (["--sort-by", "-restarts"], ["worker-0", "web-0-b", "slow-0", "tool-0"]),
    ],
)
def test_lists_are_filtered_and_sorted(run: Run, options: list[str], uids: list[str]) -> None:
    assert [pod["uid"] for pod in objects(run("pods", "list", "--json", *options).stdout)] == uids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-l", "app in web"], 'found "web", expected "("'),
        (["--sort-by", "size"], "must be one of name, status"),
        (["--watch", "--at", "1h"], "--watch shows the present"),
        (["--color", "red"], "'red' is not one of"),
    ],
)
def test_invalid_options_are_usage_errors(run: Run, options: list[str], message: str) -> None:
    assert message in run("pods", "list", *options, code=2).stderr


def test_usage_is_sorted_and_selected(run: Run) -> None:
    def names(*options: str) -> list[str]:
        return [row[1] for row in table(run("pods", "top", *options).stdout)[1:]]

    assert names("--sort-by", "cpu") == ["worker-0", "web-0", "slow-0"]
    assert names("--sort-by", "memory") == ["worker-0", "web-0", "slow-0"]
    assert names("-l", "app=db") == []


def test_colours_are_for_terminals(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run("pods", "list").stdout
    colored = run("pods", "list", "--color", "always", color=True).stdout

    assert "\x1b[" not in plain
    assert "\x1b[33mContainerCreating\x1b[0m" in colored
    assert "\x1b[32mRunning\x1b[0m" in colored
    assert [line.split() for line in plain.splitlines()] == [
        line.replace("\x1b[33m", "").replace("\x1b[32m", "").replace("\x1b[0m", "").split()
        for line in colored.splitlines()
    ]
    assert "\x1b[" in run("pods", "list", color=True).stdout
    assert "\x1b[" not in run("pods", "list", "--color", "never", color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("pods", "list", color=True).stdout
