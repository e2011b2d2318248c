"""`vkweb audit`: the audit log on the command line."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest
from flask import Flask
from sqlalchemy import text

from app.audit.reports import REPORTS
from app.db.engine import Database
from app.db.models import AuditEvent
from tests.app.audit.recorded import at
from tests.app.cli.conftest import Run, objects, table
from tests.app.web.conftest import put_on, rows
from tests.conftest import MakeApp
from tests.pods import a_pod
from tests.server import CLEAN, ROOT
from tests.waiting import eventually


def test_the_last_events_are_printed_a_line_each(run: Run) -> None:
    assert run("audit", "tail", "-n", 2).stdout.splitlines() == [
        "2026-11-22T08:49:38Z  delete  200  lab/job-0  curl/8.5.0",
        "2026-11-22T08:49:58Z  create  200  lab/tool-0  Go-http-client/1.1",
    ]
    assert [event["id"] for event in objects(run("audit", "tail", "-n", 2, "--json").stdout)] == [9, 10]
    assert run("audit", "tail", "-n", 0).stdout == ""


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (["--outcome", "refused"], [6, 7]),
        (["--outcome", "done", "--verb", "delete"], [9]),
        (["--namespace", "shop", "--name", "web-0"], [1, 5, 8]),
        (["--uid", "web-0-a"], [1, 5]),
        (["--since", at(90).isoformat(), "--until", at(120).isoformat()], [6, 7]),
        (["--since", "30s"], [9, 10]),
    ],
)
def test_events_are_those_that_were_asked_for(run: Run, options: list[str], ids: list[int]) -> None:
    for command in (["tail", "--json"], ["export"]):
        assert [event["id"] for event in objects(run("audit", *command, *options).stdout)] == ids


def test_tail_replaces_terminal_escape_sequences(run: Run, recorded: Flask) -> None:
    recorded.test_client().post("/createPod", json=a_pod(), headers={"User-Agent": "\x1b[2Jowned"})
    assert "\x1b" not in run("audit", "tail").stdout
    assert "\ufffd[2Jowned" in run("audit", "tail").stdout


def test_an_export_goes_to_a_new_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    result = run("audit", "export", "-o", path)
    assert result.output == ""
    assert path.read_text() == run("audit", "export").stdout
    assert "File exists" in run("audit", "export", "-o", path, code=1).stderr


def test_reports_are_listed_and_run(run: Run) -> None:
    assert [row[0] for row in table(run("audit", "query").stdout)[1:]] == list(REPORTS)
    options = ("--since", at(0).isoformat(), "--until", at(201).isoformat())
    assert table(run("audit", "query", "failures", *options).stdout) == [
        ["IMAGE", "EXIT_CODE", "FAILURES"],
        ["crash:1", "137", "2"],
    ]
    assert objects(run("audit", "query", "to-come", "--json").stdout) == [
        {
            "since": "2026-11-22T08:50:00.123456Z",
            "namespace": "lab",
            "name": "tool-0",
            "phase": "Running",
            "reason": None,
            "node_name": "virtual-kubelet-web",
        }
    ]


@pytest.mark.parametrize("report", REPORTS)
def test_every_report_runs(run: Run, report: str) -> None:
    run("audit", "query", report, "--namespace", "shop", "--name", "web-0")


def test_a_report_names_its_missing_parameter(run: Run) -> None:
    assert "report who-deleted needs --name" in run("audit", "query", "who-deleted", code=2).stderr
    assert "is not one of" in run("audit", "query", "nothing", code=2).stderr


def test_a_chain_that_holds_is_verified(run: Run, database: Database) -> None:
    last = rows(database, AuditEvent)[-1]["hash"]
    assert run("audit", "verify").output == f"10 events in the chain; the last hash is {last}\n"
    assert run("audit", "verify", "--noted", last).exit_code == 0
    [found] = objects(run("audit", "verify", "--json").stdout)
    assert found == {"events": 10, "before": 0, "last_hash": last, "broken": None}


def test_verify_reports_the_first_broken_event(run: Run, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DROP TRIGGER audit_events_no_update"))
        connection.execute(text("UPDATE audit_events SET address = '10.0.0.1' WHERE id IN (4, 7)"))
    assert "broken: event 4 was changed" in run("audit", "verify", code=1).stderr
    [found] = objects(run("audit", "verify", "--json", code=1).stdout)
    assert found["broken"] == {"id": 4, "why": "was changed"}
    assert found["events"] == 3


def test_without_a_chain_there_is_nothing_to_verify(make_app: MakeApp) -> None:
    result = make_app().test_cli_runner().invoke(args=["audit", "verify"])
    assert (result.exit_code, result.stderr) == (
        3,
        "Error: there is no hash chain: AUDIT_HASH_CHAIN was never set\n",
    )


def test_a_noted_hash_is_missing_where_there_is_no_chain(make_app: MakeApp) -> None:
    result = make_app().test_cli_runner().invoke(args=["audit", "verify", "--noted", "a hash"])
    assert (result.exit_code, result.output) == (
        1,
        "0 events in the chain\nbroken: the noted hash is not in the chain\n",
    )


def test_prune_reports_counts_and_file(run: Run, database: Database, tmp_path: Path) -> None:
    path = tmp_path / "pruned.jsonl"
    result = run("audit", "prune", "--before", at(181).isoformat(), "--export", path)
    assert result.output == f"moved 9 events, 2 pods and 7 other statuses to {path}\n"
    assert run("audit", "verify").exit_code == 0
    assert rows(database, AuditEvent)[-1]["user_agent"] == f"vkweb audit prune, uid {os.getuid()}"
    again = run("audit", "prune", "--before", at(181).isoformat(), "--export", tmp_path / "again.jsonl")
    assert (again.stdout, again.stderr) == ("", "nothing to prune\n")
    assert not (tmp_path / "again.jsonl").exists()


def test_prune_has_a_default_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [gone] = objects(run("audit", "prune", "--before", "1s", "--json").stdout)
    assert gone["file"] == "audit-virtual-kubelet-web-20261122T084959Z.jsonl"
    assert len(objects((tmp_path / gone["file"]).read_text())) >= gone["events"]


def test_prune_refuses_a_future_time(run: Run) -> None:
    assert "before: must not be in the future" in run("audit", "prune", "--before", "2999-01-01", code=1).stderr


@contextmanager
def flask(
    database_url: str, *arguments: str, stderr: int = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in a separate process, which is stopped at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", *arguments],
        cwd=ROOT,
        env={**CLEAN, "DATABASE_URL": database_url, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_tail_that_follows_prints_what_comes(recorded: Flask, database_url: str) -> None:
    with flask(database_url, "audit", "tail", "-f", "-n", "1", "--json") as process:
        assert process.stdout
        assert orjson.loads(process.stdout.readline())["id"] == 10
        client = recorded.test_client()
        for name in ("one", "two"):
            put_on(client, a_pod(name))
        assert [orjson.loads(process.stdout.readline())["name"] for _ in range(2)] == ["one", "two"]


def test_progress_bar_is_for_terminals_only(recorded: Flask, database_url: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        with flask(database_url, "audit", "verify", stderr=theirs) as process:
            os.close(theirs)
            shown = b""

            def is_done() -> bool:
                nonlocal shown
                shown += terminal.read(1)
                return b"100%" in shown

            eventually(is_done)
            assert b"verifying" in shown
        with flask(database_url, "audit", "verify", stderr=subprocess.PIPE) as process:
            assert process.communicate(timeout=60)[1] == b""
