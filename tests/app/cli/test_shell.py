"""The helpers of `vkweb shell`: scopes and times as on the command line, errors as one line."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.audit.service import AuditFilter
from app.cli.shell import _context
from tests.app.audit.recorded import at
from tests.conftest import MakeApp, services_of
from tests.documents import page


def names(app: Flask) -> dict[str, Any]:
    """Return the names of a shell."""
    services = services_of(app)
    return _context(services)


@pytest.fixture
def shell(recorded: Flask, capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    found = names(recorded)
    capsys.readouterr()  # the banner
    yield found
    found["session"].close()


def test_pods_are_those_of_a_namespace(shell: dict[str, Any]) -> None:
    every = {(pod.namespace, pod.name) for pod in shell["pods"](deleted=True)}
    namespaces = {namespace for namespace, _ in every}
    assert len(namespaces) > 1
    for namespace in namespaces:
        found = {(pod.namespace, pod.name) for pod in shell["pods"](namespace, deleted=True)}
        assert found == {pod for pod in every if pod[0] == namespace}


def test_a_duration_is_a_time_ago(shell: dict[str, Any]) -> None:
    since = shell["now"]() - at(0)
    assert shell["events"](since=f"{since.total_seconds() + 1}s") == shell["events"]()
    assert shell["events"](since="1ms") == []


def test_a_report_has_the_defaults_of_the_command(shell: dict[str, Any]) -> None:
    assert shell["ask"]("promised") == shell["ask"]("promised", at=shell["now"]())
    assert shell["ask"]("who-deleted", name="web") == shell["ask"]("who-deleted", name="web", namespace="default")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('pod("default/none")', "no pod default/none is recorded: pods(deleted=True) lists the pods"),
        ('explain("none")', "no pod with the UID none is recorded: pods(deleted=True) lists the pods"),
        ('history("default/none")', "no pod default/none is recorded: pods(deleted=True) lists the pods"),
        (
            'events(since="soon")',
            "not a time such as 2026-11-22T08:46:38Z, nor a duration such as 90m",
        ),
        (
            'events(image="a")',
            "events() has no image=, only since, until, namespace, name, uid, verb, outcome, after, node, who, "
            "what",
        ),
        ('ask("who")', 'there is no report "who": ask() lists the reports'),
        ('ask("who-deleted")', "report who-deleted needs name="),
        ('ask("promised", name="a")', "report promised has no name=, only at"),
        (
            "pods(1, 2)",
            "ShellHelpers.pods() takes from 1 to 2 positional arguments but 3 were given: "
            "help(pods) shows its arguments",
        ),
    ],
)
def test_an_error_is_one_line(
    shell: dict[str, Any], call: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eval(call, shell) is None
    assert capsys.readouterr().out == f"error: {message}\n"


@pytest.mark.parametrize("call", ["pods()", 'pod("default/web")', "events()", 'ask("promised")'])
def test_a_missing_database_is_named(
    make_app: MakeApp, tmp_path: Any, call: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = names(make_app(database_url=f"sqlite:///{tmp_path}/none.db"))
    capsys.readouterr()
    assert eval(call, found) is None
    assert capsys.readouterr().out == f"error: there is no database at {tmp_path}/none.db: run `vkweb migrate`\n"


def test_the_document_lists_the_names_and_the_filters(shell: dict[str, Any]) -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", page("docs/shell.md"), re.MULTILINE)
    documented = {name for names, _ in rows for name in re.findall(r"`(\w+)[`(]", names)}
    assert documented == set(shell)
    (filters,) = (text for names, text in rows if names.startswith("`events"))
    assert set(re.findall(r"\b\w+(?==)|(?<=`)\w+(?=`)", filters)) == set(AuditFilter.__struct_fields__)
