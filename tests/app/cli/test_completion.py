"""Shell completion of pods and namespaces."""

import pytest
from click.shell_completion import ShellComplete
from flask import Flask
from flask.cli import ScriptInfo

from app.cli.audit import audit
from app.cli.pods import pods
from tests.conftest import services_of

CASES: list[tuple[list[str], str, list[str]]] = [
    (["explain"], "", ["lab/tool-0", "shop/slow-0", "shop/web-0", "shop/worker-0"]),
    (["logs", "--tail", "5"], "shop/w", ["shop/web-0", "shop/worker-0"]),
    (["show"], "shop/%", []),
    (["history"], "nobody", []),
    (["list", "-n"], "", ["lab", "shop"]),
    (["top", "--namespace"], "s", ["shop"]),
]


def complete(app: Flask, arguments: list[str], incomplete: str) -> list[str]:
    info = ScriptInfo(create_app=lambda: app)
    found = ShellComplete(pods, {"obj": info}, "vkweb pods", "_X").get_completions(arguments, incomplete)
    return [item.value for item in found]


@pytest.mark.parametrize(("arguments", "incomplete", "values"), CASES)
def test_live_pods_and_namespaces_are_completed(
    recorded: Flask, arguments: list[str], incomplete: str, values: list[str]
) -> None:
    assert complete(recorded, arguments, incomplete) == values


def test_namespaces_of_the_audit_log_are_completed(recorded: Flask) -> None:
    info = ScriptInfo(create_app=lambda: recorded)
    completion = ShellComplete(audit, {"obj": info}, "vkweb audit", "_X")
    assert [item.value for item in completion.get_completions(["tail", "--namespace"], "")] == ["lab", "shop"]


def test_nothing_is_completed_without_a_database(recorded: Flask) -> None:
    path = services_of(recorded).database.path
    path.rename(path.with_suffix(".gone"))
    assert complete(recorded, ["explain"], "") == []
